"""What several commands share: options, lists in one word, and errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from vlmscale.errors import UsageError, require_extra
from vlmscale.jobs.entry import exit_with_message

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object: numbers unrounded, null for infinite or undefined ones.",
    ),
]
Methods = Annotated[
    str, typer.Option(help="Methods to use, separated by commas. Default: all.", metavar="A,B")
]
GpuName = Annotated[
    str | None,
    typer.Option(help="Row of resources/gpus.csv.", show_default="the study's `cluster`"),
]
Utilisation = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=1,
        help="Share of the GPU's peak FLOP/s that training reaches.",
        show_default="measured on that GPU, else the GPU table's, else the cluster's",
    ),
]


@contextmanager
def report_errors() -> Iterator[None]:
    """End the process with one message: status 2 for wrong options, 1 for a UserError or missing extra."""
    with exit_with_message():
        try:
            yield
        except UsageError as error:
            raise typer.BadParameter(str(error)) from None
        except ModuleNotFoundError as error:
            raise require_extra(error, "this command") from None


def split_names(text: str) -> list[str]:
    """Split at commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def split_counts(text: str, option: str) -> list[int]:
    """Split at commas into numbers from 0."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise typer.BadParameter(f"{option} {text}: give numbers from 0, such as 0,50")
    return numbers
