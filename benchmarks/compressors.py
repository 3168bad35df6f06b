r"""Forward passes of our compressors beside the released code's, with the same weights and equal outputs.

    VLMSCALE_REFERENCE_DIR=checkouts OMP_NUM_THREADS=1 python benchmarks/compressors.py \
        [--select "quecc or mqt"] [--parquet compressors.parquet]

Runs `tests/parity`, which loads the released code from checkouts (see CONTRIBUTING.md), copies its weights
into ours and compares outputs; when a test has done so, both are timed in turn, without gradients, on the
features of two images of 24 x 24 patches and 1024 channels. A method without such a test has no row.
All take minutes; --select is pytest's -k.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import pandas as pd
import pytest
import torch
import typer
from common import about, ratio, rounds, shown
from rich.console import Console
from rich.table import Table

from vlmscale.cli.output import number
from vlmscale.records.parquet import write_parquet

PARITY = Path(__file__).parents[1] / "tests" / "parity" / "test_parity.py"


class Timing:
    """A plugin of pytest: what parity tests compare is timed, too."""

    def __init__(self, repetitions: int) -> None:
        self.repetitions = repetitions
        self.rows: list[dict[str, Any]] = []

    @pytest.fixture(autouse=True)
    def timed(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        compare = request.module.assert_same

        def compare_and_time(*arguments: Any) -> None:
            compare(*arguments)
            self.time(request.node.name.removeprefix("test_"), *arguments[3:])

        monkeypatch.setattr(request.module, "assert_same", compare_and_time)

    def time(self, case: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
        with torch.no_grad():
            times = rounds({"ours": ours, "released": theirs}, self.repetitions)
        method, _, setting = case.partition("[")
        row = {
            "method": method,
            "setting": setting.rstrip("]"),
            "ours_ms": 1e3 * median(times["ours"]),
            "released_ms": 1e3 * median(times["released"]),
            **ratio(times["released"], times["ours"]),
        }
        self.rows.append(row)


def main(
    select: Annotated[str, typer.Option(help="parity tests, as pytest -k takes them")] = "",
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after one that warms up")] = 9,
    parquet: Annotated[Path | None, typer.Option(help="write the figures here")] = None,
) -> None:
    if "VLMSCALE_REFERENCE_DIR" not in os.environ:
        sys.exit("error: VLMSCALE_REFERENCE_DIR names no folder of checkouts (see CONTRIBUTING.md)")
    timing = Timing(repetitions)
    command = [str(PARITY), "-q", "-o", "filterwarnings=ignore", "-k", select]
    status = pytest.main(command, plugins=[timing])
    if not timing.rows:
        sys.exit(f"error: nothing was compared (pytest ended with {status})")
    table = Table("method", "tokens or window", "ours ms", "released ms", "x released")
    for row in timing.rows:
        times = (number(row["ours_ms"]), number(row["released_ms"]))
        table.add_row(row["method"], row["setting"], *times, shown(row))
    described = about(repetitions=repetitions)
    Console(width=100).print(table, described)
    if parquet:
        write_parquet(parquet, pd.DataFrame(timing.rows), described)
    sys.exit(status)


if __name__ == "__main__":
    typer.run(main)
