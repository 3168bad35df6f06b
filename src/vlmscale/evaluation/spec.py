"""The spec of an evaluation process, and the table of benchmarks. Needs no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vlmscale.errors import UserError
from vlmscale.resources import read_benchmark_rows
from vlmscale.settings import Frozen, PromptLayout, Setting

# How questions are put to a model: lmms-eval's way, or LLaVA-1.5's (docs/benchmarks.md).
Protocol = Literal["lmms", "llava15"]


class Benchmark(Frozen):
    """A row of resources/benchmarks.csv; resources/README.md explains the columns."""

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
        """The metrics of the task whose sum is the score."""
        return self.metric.split("+")

    @property
    def files(self) -> str:
        """The pattern of the Parquet files with the questions."""
        return f"{self.split}-*.parquet" if self.dataset else f"{self.benchmark}.parquet"

    def folder(self, data: Path) -> Path:
        """Return the folder of these files: below `data` as on the hub, `data` for generated questions."""
        return data / self.dataset / (self.config or "data") if self.dataset else data


class EvaluationSpec(Frozen):
    """One cell: a model folder trained with one setting, evaluated with the same or a training-free one."""

    model: Path
    data: Path
    features: Path | None
    benchmarks: tuple[Benchmark, ...]
    protocol: Protocol
    batch_size: int
    prompt_layout: PromptLayout = "image_first"
    cell: dict[str, Any]
    trained: Setting
    evaluated: Setting
    fingerprint: str
    samples: Path
    scores: Path


def read_benchmarks(names: Sequence[str]) -> tuple[Benchmark, ...]:
    """Read the rows `names` of resources/benchmarks.csv, in the order of `names`.

    Raises UserError for a name that the table does not have.
    """
    rows = read_benchmark_rows()
    if unknown := [name for name in names if name not in rows]:
        raise UserError(
            f"resources/benchmarks.csv has no benchmark {', '.join(unknown)}. "
            f"It has {', '.join(rows)}."
        )
    return tuple(parse_benchmark(rows[name]) for name in names)


def parse_benchmark(row: Mapping[str, str]) -> Benchmark:
    """Validate a row of the table; an empty cell is None."""
    return Benchmark.model_validate({key: value or None for key, value in row.items()})
