"""Print what commands return: one JSON object, or lines and tables."""

import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

Report = dict[str, Any]

_LEAST = 8  # characters of a column of words in a narrow terminal, where numbers would push it out


def emit(report: Report, as_json: bool, show: Callable[[Console, Report], None]) -> None:
    """Print `report` as JSON, unrounded and with null for infinite or undefined; else `show` it."""
    if as_json:
        sys.stdout.write(json.dumps(plain(report), indent=2, allow_nan=False) + "\n")
    else:
        show(_console(), report)


def render(report: Report, show: Callable[[Console, Report], None]) -> str:
    """Return what `emit` prints."""
    text = io.StringIO()
    show(_console(file=text, force_jupyter=False), report)
    return text.getvalue()


def _console(**options: Any) -> Console:
    # Markup off: file names and ranges have square brackets. Lines are the terminal's to break.
    return Console(markup=False, highlight=False, soft_wrap=True, **options)


def plain(value: Any) -> Any:
    """Return tables, arrays and numbers of numpy and pandas as what JSON knows."""
    match value:
        case pd.DataFrame():
            return [plain(row) for row in value.to_dict("records")]
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | np.ndarray():
            return [plain(item) for item in value]
        case np.generic():
            return plain(value.item())
        case float() if not np.isfinite(value):
            return None
    return None if value is pd.NA or value is pd.NaT else value


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    words: Sequence[str] = (),
) -> Table:
    """Build a table; columns named in `words` are left-aligned and may wrap."""
    built = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in columns:
        text = column in words
        built.add_column(
            column,
            justify="left" if text else "right",
            no_wrap=not text,
            min_width=_LEAST if text else None,
            overflow="fold",  # a name cut short is nobody's
        )
    for row in rows:
        built.add_row(*row)
    return built


def number(value: float | None, digits: int = 4) -> str:
    """Write a number; a dash where there is none."""
    if value is None or pd.isna(value):
        return "-"
    return f"{value:.{digits}g}"


def span(low: float | None, high: float | None, digits: int = 4) -> str:
    """Write a range; a dash where there is none."""
    if low is None or pd.isna(low):
        return "-"
    return f"{number(low, digits)}–{number(high, digits)}"


def status(text: str) -> Status:
    """Show `text` on stderr while something runs; nothing where stderr is not a terminal."""
    return Console(stderr=True, force_jupyter=False).status(text)
