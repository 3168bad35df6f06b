"""Exceptions whose message tells the user what is wrong, where, and what to do."""

import math
from collections.abc import Mapping
from pathlib import Path


class UserError(ValueError):
    """Bad config, data or checkpoint. Entry points print its message without a traceback."""


class UsageError(UserError):
    """Arguments that exclude each other, or a value that an argument does not take."""


class Damaged(UserError):
    """A file or folder that is not what was written: the problem, the remedy, and its path."""

    def __init__(self, problem: str, remedy: str, path: Path) -> None:
        super().__init__(problem, remedy, path)  # all of them, so that processes can pass it on
        self.problem, self.remedy, self.path = problem, remedy, path

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"


class Stopped(UserError):
    """A training that ended early because it was asked to; the next attempt resumes it."""

    status = 75  # exit status EX_TEMPFAIL of sysexits.h: try again


def printable(text: str) -> str:
    """Return `text` with what a terminal would act upon, not show, written as escapes; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def refuse_infinite(arguments: Mapping[str, object]) -> None:
    """Raise UsageError where an argument, or one within a list or mapping, is infinite or not a number."""
    for name, value in arguments.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name} {value}: give a finite number")
        if isinstance(value, list | tuple):
            refuse_infinite({f"{name}[{i}]": part for i, part in enumerate(value)})
        elif isinstance(value, dict):
            refuse_infinite({f"{name}[{key}]": part for key, part in value.items()})


def require_extra(error: ModuleNotFoundError, subject: str) -> UserError:
    """Return what to raise where `subject` needs a package of the extra that trains models."""
    return UserError(
        f"{subject} needs {error.name}, which is not installed: pip install 'vlmscale[train]'"
    )
