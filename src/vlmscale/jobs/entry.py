"""How a process of the workflow starts and ends: it reads its spec, keeps a log, ends with one message."""

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from vlmscale.errors import Damaged, Stopped, UserError, printable
from vlmscale.records.files import set_aside

Spec = TypeVar("Spec")
# What errors without a number say: those of Rust libraries, of numpy and of torch.save.
_DISK_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written|unexpected pos \d+ vs \d+"
)


def read_spec_from_argv(module: str, what: str, kinds: TypeAdapter[Spec]) -> Spec:
    """Read and validate the spec file named on the command line of `python -m module SPEC.json`.

    Exits with the usage for any other command line. Raises UserError for a file that is not a spec for
    `what`, with one line for each mistake.
    """
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(f"usage: python -m {module} SPEC.json   (see {module.replace('.', '/')}/spec.py)")
    path = Path(sys.argv[1])
    try:
        return kinds.validate_json(path.read_text())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        wrong = [
            ".".join(map(str, each["loc"])) + ": " * bool(each["loc"]) + each["msg"]
            for each in error.errors()
        ]
        raise UserError("\n  ".join([f"{path} is not a spec for {what}:", *wrong])) from None


@contextmanager
def exit_with_message(*, is_job: bool = False) -> Iterator[None]:
    """Exit with status 1 and one line for a UserError or a full disk, with status 75 for Stopped.

    is_job: of the workflow, which makes anew what is missing: a damaged result is set aside. Any other
    exception is a bug and keeps its traceback.
    """
    try:
        yield
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)
    except UserError as error:
        if is_job and isinstance(error, Damaged) and _is_result(error.path):
            aside = set_aside(error.path)
            cure = f"It is now {aside}. Run the same command again: it makes {error.path} anew."
            sys.exit(f"error: {printable(f'{error.problem} {cure}')}")
        sys.exit(f"error: {printable(str(error))}")
    except Exception as error:
        if not is_disk_full(error):
            raise
        sys.exit(
            f"error: a disk is full ({error}). Free space where results and work lie, {Path.cwd()}, or for "
            f"temporary files, {tempfile.gettempdir()}. Then run again: what is finished is kept."
        )


def _is_result(path: Path) -> bool:
    """Tell whether the workflow made `path`, below the folder that this process was started in."""
    return path.resolve().is_relative_to(Path("results").resolve())


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether an error, or one that led to it, says that no space or quota was left."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or _DISK_FULL.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def log_to(log: str | os.PathLike[str]) -> Iterator[None]:
    """Write all output and errors to the file `log`, those of subprocesses and C code included."""
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        file = open(log, "w")  # noqa: SIM115
    except OSError as error:
        sys.exit(
            f"error: the log {log} cannot be written: {error.strerror}. Make its folder writable."
        )
    with file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with exit_with_message(is_job=True):
            yield
    except Exception:
        traceback.print_exc()
        sys.exit(1)
