"""GPUs by name, from resources/gpus.csv."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gpu:
    """A row of resources/gpus.csv."""

    gpu: str
    name: str
    bf16_tflops: float  # peak, dense
    memory_gb: float
    utilisation: float | None  # share of the peak that a training is known to have reached
    source: str


def load_gpus(table: Path) -> dict[str, Gpu]:
    """Return the GPUs of a table such as resources/gpus.csv by name."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["gpu"]: Gpu(
            row["gpu"],
            row["name"],
            float(row["bf16_tflops"]),
            float(row["memory_gb"]),
            float(row["utilisation"]) if row["utilisation"] else None,
            row["source"],
        )
        for row in rows
    }
