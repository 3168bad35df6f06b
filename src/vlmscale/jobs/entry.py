"""What every job of the workflow does around its one library call: keep a log, end with one message."""

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
    """The spec, of one of these kinds, that `python -m module SPEC.json` was called with.

    Ends the process with its usage when it was called otherwise; raises UserError for a file that is no
    spec for `what`, with a line for each thing that is wrong.
    """
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        folder = module.replace(".", "/")
        sys.exit(f"usage: python -m {module} SPEC.json   (see {folder}/spec.py)")
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
    """End the process with status 1 (75 if it was asked to stop) and one line for a UserError; anything
    else is a bug and keeps its traceback.
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
    """Send all output, also that of subprocesses and C code, to the file `log`; errors included."""
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
