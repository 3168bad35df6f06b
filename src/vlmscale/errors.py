"""The exceptions that speak to the user: what was wrong, where, and what to do."""


class UserError(Exception):
    """Bad config, data or checkpoint. Entry points print its message alone, without a traceback."""


class Stopped(UserError):
    """A training that was asked to end early and did; the next attempt goes on from there."""

    status = 75  # the exit status of a process that it ends, EX_TEMPFAIL of sysexits.h: try again
