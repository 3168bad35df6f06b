"""Exceptions whose message tells the user what is wrong, where, and what to do."""


class UserError(ValueError):
    """Bad config, data or checkpoint. Entry points print its message without a traceback."""


class UsageError(UserError):
    """Arguments that exclude each other, or a value that an argument does not take."""


class Stopped(UserError):
    """A training that ended early because it was asked to; the next attempt resumes it."""

    status = 75  # exit status EX_TEMPFAIL of sysexits.h: try again
