"""How far long work has come: bars on a terminal, a line for every tenth in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Report = Callable[[float, float | None], None]  # how much there is, how much there will be


@contextmanager
def show_progress(*columns: ProgressColumn) -> Iterator[Callable[[str], Report]]:
    """A function from a name to what counts its work; `columns` stand between bar and time left."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        *columns,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:

        def bar(name: str) -> Report:
            task, told = progress.add_task(name, total=None), 0

            def count(done: float, total: float | None) -> None:
                nonlocal told
                progress.update(task, completed=done, total=total)
                tenths = int(10 * done / total) if total else 0
                if tenths > told and not console.is_terminal:
                    print(f"{name}: {tenths}0 %", file=sys.stderr, flush=True)
                told = max(told, tenths)

            return count

        yield bar
