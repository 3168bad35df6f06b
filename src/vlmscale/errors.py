"""Exceptions whose message tells the user what is wrong, where, and what to do."""


class UserError(ValueError):
    """Bad config, data or checkpoint. Entry points print its message without a traceback."""


class UsageError(UserError):
    """Arguments that exclude each other, or a value that an argument does not take."""


class Stopped(UserError):
    """A training that ended early because it was asked to; the next attempt resumes it."""

    status = 75  # exit status EX_TEMPFAIL of sysexits.h: try again


def require_extra(error: ModuleNotFoundError, subject: str) -> UserError:
    """Return what to raise where `subject` needs a package of the extra that trains models."""
    return UserError(
        f"{subject} needs {error.name}, which is not installed: pip install 'vlmscale[train]'"
    )
