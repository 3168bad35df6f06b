"""The one exception that speaks to the user: what was wrong, where, and what to do."""


class UserError(Exception):
    """Bad config, data or checkpoint. Entry points print its message alone, without a traceback."""
