"""Numbers as text, and tables of text as Markdown and LaTeX."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from vlmscale.records.files import atomic_path

_BOUNDS = {"interior": "", "fixed": " (fixed)"}
_LATEX = {
    **{character: "\\" + character for character in "%_&#$"},
    "^": r"\^{}",
    "~": r"\textasciitilde{}",
    **{"α": r"$\alpha$", "β": r"$\beta$", "Δ": r"$\Delta$"},
}


def fixed(digits: int) -> Callable[[float], str]:
    """Return a function that writes a number with `digits` decimals, and nothing for NaN."""
    return lambda value: "" if np.isnan(value) else f"{value:.{digits}f}"


def format_interval(value: float, low: float, high: float, *, digits: int) -> str:
    """Write `value [low, high]`."""
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def format_ratio(value: float) -> str:
    """Write α/β, whose digits mean nothing where β is nearly 0."""
    return "> 10000" if 1e4 < value < np.inf else fixed(2)(value)


def format_floor(floor: float, bound: str) -> str:
    """Write D and whether it is fixed or at a bound; nothing for NaN."""
    return "" if np.isnan(floor) else f"{floor:.3g}" + _BOUNDS.get(bound, " (bound)")


def format_markdown(frame: pd.DataFrame) -> str:
    """Write a table of strings as Markdown."""
    return str(frame.to_markdown(index=False, disable_numparse=True)) + "\n"


def write_table(frame: pd.DataFrame, markdown: Path, latex: Path) -> None:
    """Write a table of strings to both files."""
    with atomic_path(markdown) as scratch:
        scratch.write_text(format_markdown(frame))
    with atomic_path(latex) as scratch:
        scratch.write_text(frame.rename(columns=_escape).map(_escape).to_latex(index=False))


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
