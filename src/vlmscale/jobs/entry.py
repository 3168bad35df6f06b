"""How a process of the workflow starts and ends: it reads its spec, keeps a log, ends with one message."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from vlmscale.errors import Stopped, UserError

Spec = TypeVar("Spec")


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
def exit_with_message() -> Iterator[None]:
    """Exit with status 1 and one line for a UserError, with status 75 for Stopped.

    Any other exception is a bug and keeps its traceback.
    """
    try:
        yield
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)
    except UserError as error:
        sys.exit(f"error: {error}")


@contextmanager
def log_to(log: str | os.PathLike[str]) -> Iterator[None]:
    """Write all output and errors to the file `log`, those of subprocesses and C code included."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with exit_with_message():
            yield
    except Exception:
        traceback.print_exc()
        sys.exit(1)
