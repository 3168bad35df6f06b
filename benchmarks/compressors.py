r"""Time our projectors beside the released code, with the same weights and equal outputs.

    VLMSCALE_REFERENCE_DIR=checkouts OMP_NUM_THREADS=1 python benchmarks/compressors.py \
        [--select "quecc or mqt"] [--parquet compressors.parquet]

Runs `tests/parity`, which loads the released code from checkouts (see CONTRIBUTING.md), copies its weights
into ours and compares outputs. After each comparison both are timed in turn, without gradients, on the
features of two images of 24 x 24 patches and 1024 channels. A method without such a test has no row.
All take minutes; --select is pytest's -k.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import pytest
import torch
import typer
from common import compute_ratio, report, time_rounds

PARITY = Path(__file__).parents[1] / "tests" / "parity" / "test_parity.py"


class Timing:
    """A pytest plugin that times what parity tests compare."""

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
            times = time_rounds({"ours": ours, "released": theirs}, self.repetitions)
        method, _, setting = case.partition("[")
        row = {
            "method": method,
            "setting": setting.rstrip("]"),
            "ours_ms": 1e3 * median(times["ours"]),
            "released_ms": 1e3 * median(times["released"]),
            **compute_ratio(times["released"], times["ours"]),
        }
        self.rows.append(row)


def main(
    select: Annotated[str, typer.Option(help="parity tests, as pytest -k takes them")] = "",
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after a warm-up")] = 9,
    parquet: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    if "VLMSCALE_REFERENCE_DIR" not in os.environ:
        sys.exit(
            "error: set VLMSCALE_REFERENCE_DIR to the folder of checkouts (see CONTRIBUTING.md)"
        )
    timing = Timing(repetitions)
    command = [str(PARITY), "-q", "-o", "filterwarnings=ignore", "-k", select]
    status = pytest.main(command, plugins=[timing])
    if not timing.rows:
        sys.exit(f"error: nothing was compared (pytest ended with {status}). Correct --select.")
    report("speed_compressors", timing.rows, parquet, repetitions=repetitions)
    sys.exit(status)


if __name__ == "__main__":
    typer.run(main)
