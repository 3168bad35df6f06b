"""What an evaluation process is told: one JSON file, as with training. Needs no torch."""

import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlmscale.process import run
from vlmscale.provenance import write_json
from vlmscale.settings import Frozen


class Setting(Frozen):
    """What a projector is built for."""

    method: str
    visual_tokens: int
    options: dict[str, str]

    def __str__(self) -> str:
        chosen = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"{self.method} at {self.visual_tokens} visual tokens" + f" ({chosen})" * bool(
            chosen
        )


class Benchmark(Frozen):
    """A row of resources/benchmarks.csv."""

    benchmark: str
    family: str
    task: str
    metric: str
    source: str


class EvaluationSpec(Frozen):
    """One cell: a checkpoint `trained` so, seen `evaluated` so: the same, or what needs no training."""

    model: Path
    data: Path
    features: Path | None
    benchmarks: tuple[Benchmark, ...]
    batch_size: int
    cell: dict[str, Any]
    trained: Setting
    evaluated: Setting
    fingerprint: str
    samples: Path
    scores: Path


def read_benchmarks(table: Path, names: Sequence[str]) -> tuple[Benchmark, ...]:
    """The rows `names` of resources/benchmarks.csv, in their order."""
    with table.open(newline="") as file:
        rows = {row["benchmark"]: Benchmark.model_validate(row) for row in csv.DictReader(file)}
    return tuple(rows[name] for name in names)


def launch(spec: EvaluationSpec, work: Path) -> None:
    """Evaluate in a process of its own, told by a file in `work`. Raises UserError when it fails."""
    file = work / "spec.json"
    write_json(file, spec.model_dump(mode="json"))
    command = [sys.executable, "-m", "vlmscale.evaluation", str(file)]
    run(command, "evaluation", "Fix the cause and run again.")
    shutil.rmtree(work)
