"""GPUs by name, from resources/gpus.csv."""

from dataclasses import dataclass

from vlmscale.resources import read_rows


@dataclass(frozen=True)
class Gpu:
    """A row of resources/gpus.csv."""

    gpu: str
    name: str
    bf16_tflops: float  # peak, dense
    memory_gb: float
    utilisation: float | None  # share of the peak that a training is known to have reached
    source: str


def load_gpus() -> dict[str, Gpu]:
    """Return the GPUs of resources/gpus.csv by name."""
    return {
        row["gpu"]: Gpu(
            gpu=row["gpu"],
            name=row["name"],
            bf16_tflops=float(row["bf16_tflops"]),
            memory_gb=float(row["memory_gb"]),
            utilisation=float(row["utilisation"]) if row["utilisation"] else None,
            source=row["source"],
        )
        for row in read_rows("gpus.csv")
    }
