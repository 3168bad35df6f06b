"""Print what commands return: one JSON object, or lines and tables."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress
from rich.status import Status
from rich.table import Table

from vlmscale.errors import UserError, printable
from vlmscale.records.parquet import write_parquet

Report = dict[str, Any]
Columns = dict[str, str | Callable[[Any], Any]]  # head -> key of a row, or a function of a row

_WIDE = 10_000  # characters of a line in a file or pipe, which nothing has to fit


def emit(report: Report, as_json: bool, show: Callable[[Console, Report], None]) -> None:
    """Print `report` as JSON, unrounded and with null for infinite or undefined; else `show` it."""
    if as_json:
        sys.stdout.write(json.dumps(plain(report), indent=2, allow_nan=False) + "\n")
    else:
        show(_console(), report)


def write_report(path: Path, report: Report, table: str) -> None:
    """Write one table of a report to a Parquet file whose metadata are the rest of the report.

    Raises UserError where no file can be written.
    """
    about = {key: value for key, value in report.items() if key != table}
    try:
        write_parquet(path, report[table], plain(about))
    except OSError as error:
        raise UserError(f"--parquet {path} cannot be written: {error.strerror}") from None


def render(report: Report, show: Callable[[Console, Report], None]) -> str:
    """Return what `emit` prints."""
    text = io.StringIO()
    show(_console(file=text, force_jupyter=False), report)
    return text.getvalue()


def _console(**options: Any) -> Console:
    # Markup off: file names and ranges have square brackets. Lines are the terminal's to break.
    console = Console(markup=False, highlight=False, soft_wrap=True, **options)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


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


def print_table(
    console: Console,
    title: str,
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    columns: Columns,
    *,
    words: Sequence[str] = (),
) -> None:
    """Print a table: number() writes floats and None, str() the rest.

    Columns named in `words` are left-aligned, and wrap between words where the terminal is too narrow; a
    word is never broken, whatever the width.
    """
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else list(rows)
    cells = {
        head: [_write(row[how] if isinstance(how, str) else how(row)) for row in records]
        for head, how in columns.items()
    }
    built = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for head, texts in cells.items():
        wraps = head in words
        pieces = " ".join([head, *texts]).split() if wraps else [head, *texts]
        built.add_column(
            head,
            justify="left" if wraps else "right",
            no_wrap=not wraps,
            min_width=max(map(len, pieces)),
        )
    for row in zip(*cells.values(), strict=True):
        built.add_row(*row)
    least = Measurement.get(console, console.options.update_width(_WIDE), built).minimum
    width = console.width
    console.width = max(width, least)  # print() takes no width beyond the console's own
    console.print(built, crop=False)
    console.width = width


def _write(value: Any) -> str:
    return printable(number(value) if isinstance(value, float | None) else str(value))


def number(value: float | None, digits: int = 4) -> str:
    """Write a number; a dash where there is none, and "unbounded" for an infinite one."""
    if value is None or pd.isna(value):
        return "-"
    if np.isinf(value):
        return "unbounded"
    return f"{value:.{digits}g}"


def span(low: float | None, high: float | None, digits: int = 4) -> str:
    """Write a range; a dash where there is none."""
    if low is None or pd.isna(low):
        return "-"
    if high == np.inf:
        return f"from {number(low, digits)}, unbounded"
    return f"{number(low, digits)}–{number(high, digits)}"


def interval(low: float | None, high: float | None, digits: int = 4) -> str:
    """Write a 95 % interval: in words where all draws lie at a bound or an end is infinite."""
    if low is not None and low == high and not np.isinf(low):
        return f"at the bound {number(low, digits)}"
    return number(low) if low == high else span(low, high, digits)


def status(text: str) -> Status:
    """Show `text` on stderr while something runs; nothing where stderr is not a terminal."""
    return Console(stderr=True, force_jupyter=False).status(text)


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr, which each call of what this yields advances; nothing without a terminal."""
    console = Console(stderr=True, force_jupyter=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(text, total=total)
        yield lambda: bars.advance(bar)
