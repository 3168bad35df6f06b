"""What an evaluation process is told: one JSON file, as with training. Needs no torch."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vlmscale.settings import Frozen, Setting

# How questions are put: as lmms-eval does by default, or as LLaVA-1.5 was evaluated (docs/benchmarks.md).
Protocol = Literal["lmms", "llava15"]


class Benchmark(Frozen):
    """A row of resources/benchmarks.csv; resources/README.md says what the columns mean."""

    benchmark: str
    family: str
    task: str
    metric: str
    highest: float
    chance: float | None
    id: str | None
    questions: int | None
    dataset: str | None
    config: str | None
    images: str | None
    split: str
    revision: str | None
    licence: str | None
    source: str

    @property
    def metrics(self) -> list[str]:
        """The numbers of the task whose sum is the score."""
        return self.metric.split("+")

    @property
    def files(self) -> str:
        """The pattern of the Parquet files with its questions."""
        return f"{self.split}-*.parquet" if self.dataset else f"{self.benchmark}.parquet"

    def folder(self, data: Path) -> Path:
        """Where these files lie: below `data` as on the hub, or in it for generated questions."""
        return data / self.dataset / (self.config or "data") if self.dataset else data


class EvaluationSpec(Frozen):
    """One cell: a checkpoint `trained` so, seen `evaluated` so: the same, or what needs no training."""

    model: Path
    data: Path
    features: Path | None
    benchmarks: tuple[Benchmark, ...]
    protocol: Protocol
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
        rows = {row["benchmark"]: row for row in csv.DictReader(file)}
    return tuple(benchmark(rows[name]) for name in names)


def benchmark(row: Mapping[str, str]) -> Benchmark:
    """A row of the table; an empty cell is None."""
    return Benchmark.model_validate({key: value or None for key, value in row.items()})
