"""GPUs that studies are planned for, from resources/gpus.csv."""

import csv
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from vlmscale.errors import UserError
from vlmscale.resources import resource


@dataclass(frozen=True)
class Gpu:
    """A row of resources/gpus.csv."""

    gpu: str
    name: str
    bf16_tflops: float  # peak, dense
    memory_gb: float
    utilisation: float | None  # share of the peak that a training is known to have reached
    source: str

    def least(self, gigabytes: float) -> int:
        """How many of them hold `gigabytes`, leaving a fifth of the memory to activations."""
        return ceil(gigabytes / (0.8 * self.memory_gb))


def find_gpu(name: str) -> Gpu:
    """The row of a GPU. Raises UserError for an unknown one."""
    gpus = known_gpus()
    if name not in gpus:
        raise UserError(
            f"no GPU {name!r} in resources/gpus.csv. There are: {', '.join(gpus)}. Add a row for yours."
        )
    return gpus[name]


@cache
def known_gpus() -> dict[str, Gpu]:
    """The rows of the checkout's table, by name."""
    return load_gpus(resource("gpus.csv"))


def load_gpus(table: Path) -> dict[str, Gpu]:
    """GPUs by name, from a table like resources/gpus.csv."""
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
