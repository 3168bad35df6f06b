"""Progress of long work: bars on a terminal, a line for every tenth in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn

Report = Callable[[float, float | None], None]  # called with how much is done, and how much in all


@contextmanager
def show_progress(*columns: ProgressColumn) -> Iterator[Callable[[str], Report]]:
    """Yield a function that adds a named bar and returns how to update it.

    columns: what a bar shows before the remaining time.
    """
    console = Console(stderr=True)
    *before, remaining = Progress.get_default_columns()
    with Progress(
        *before, *columns, remaining, console=console, disable=not console.is_terminal
    ) as progress:

        def add_bar(name: str) -> Report:
            task, printed = progress.add_task(name, total=None), 0

            def report(done: float, total: float | None) -> None:
                nonlocal printed
                progress.update(task, completed=done, total=total)
                tenths = int(10 * done / total) if total else 0
                if tenths > printed and not console.is_terminal:
                    print(f"{name}: {tenths}0 %", file=sys.stderr, flush=True)
                printed = max(printed, tenths)

            return report

        yield add_bar
