"""Numbers as text, and tables of text as Markdown and LaTeX."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.intervals import is_inside
from vlmscale.records.files import atomic_path
from vlmscale.records.texts import write_markdown

_LATEX = {
    **{character: "\\" + character for character in "%_&#${}"},
    "\\": r"\textbackslash{}",
    "^": r"\^{}",
    "~": r"\textasciitilde{}",
    **{"α": r"$\alpha$", "β": r"$\beta$", "Δ": r"$\Delta$"},
}


def fixed(digits: int) -> Callable[[float], str]:
    """Return a function that writes a number with `digits` decimals, and nothing for NaN."""
    return lambda value: "" if np.isnan(value) else f"{value:.{digits}f}"


def format_interval(value: float, low: float, high: float, *, digits: int) -> str:
    """Write `value [low, high]`, the value alone where there is no interval, and nothing for NaN.

    An interval without a width is no certainty: all draws lie at a bound. Its infinite ends are unbounded.
    A value beyond its interval is `outside`.
    """
    write = partial(_write_end, digits=digits)
    if np.isnan(value) or np.isnan(low):
        return write(value)
    if low == high:
        return write(value) + (
            " [at the bound]" if value == low else f" [at the bound {write(low)}]"
        )
    ends = write(low), write(high)
    inside = is_inside(value, low, high) or write(value) in ends
    if ends[0] == ends[1]:  # narrower than the digits show
        ends = f"{low:.3g}", f"{high:.3g}"
    return f"{write(value)}{' outside' * (not inside)} [{ends[0]}, {ends[1]}]"


def _write_end(value: float, digits: int) -> str:
    return "unbounded" if np.isinf(value) else fixed(digits)(value)


def format_ratio(value: float) -> str:
    """Write α/β, whose digits mean nothing where β is nearly 0."""
    if np.isinf(value):
        return "unbounded"
    return "> 10000" if value > 1e4 else fixed(2)(value)


def format_floor(floor: float, bound: str) -> str:
    """Write D and whether it is fixed or at a bound; nothing for NaN."""
    where = {"interior": "", "fixed": " (fixed)"}.get(bound, " (bound)")
    return "" if np.isnan(floor) else f"{floor:.3g}{where}"


def format_markdown(frame: pd.DataFrame) -> str:
    """Write a table of strings as Markdown, in which no text ends its cell or reads as HTML."""
    safe = frame.rename(columns=_escape_markdown).map(_escape_markdown)
    return str(safe.to_markdown(index=False, disable_numparse=True)) + "\n"


def write_table(frame: pd.DataFrame, markdown: Path, latex: Path) -> None:
    """Write a table of strings to both files."""
    write_markdown(markdown, format_markdown(frame))
    with atomic_path(latex) as scratch:
        text = frame.rename(columns=_escape).map(_escape).to_latex(index=False)
        scratch.write_text(text, encoding="utf-8")


def _escape_markdown(text: str) -> str:
    one_line = " ".join(text.splitlines()).replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", one_line)


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
