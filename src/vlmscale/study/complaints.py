"""What is wrong with a config, one line for each error of pydantic."""

import reprlib

from pydantic import ValidationError

_SHOWN = 20  # of one config
_WIDTH = 100  # characters of a value


def list_complaints(error: ValidationError, *within: str) -> list[str]:
    """Return a line for each thing that is wrong, with its key; `within` are the keys above it."""
    lines, found = [], error.errors()
    parents = {e["loc"][:depth] for e in found for depth in range(1, len(e["loc"]))}
    for e in found:
        if e["loc"] in parents:
            continue  # follows from an error further down, which is listed
        key = ".".join(map(_show_key, [*within, *e["loc"]]))
        message = e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            message = "unknown key. Remove it; `python -m vlmscale.study.reference` lists the keys."
        elif key and not isinstance(e["input"], dict):
            quotes = isinstance(e["input"], int | float) and e["type"] == "string_type"
            message += f" (got {_show_value(e['input'])}{'; put it in quotes' if quotes else ''})"
        lines.append(f"{key}: {message}" if key else message)
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *[f"and {more} more"] * (more > 0)]


def _show_value(value: object) -> str:
    """Return a value as it is written in Python, shortened as a whole, for each part of it may be long."""
    text = reprlib.repr(value)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _show_key(key: str | int) -> str:
    """Return a key as it is, or quoted and shortened where it would not fit on a screen."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 60 else reprlib.repr(text)
