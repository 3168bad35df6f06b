"""Time making batches of photographs: samples a second of one process, alone and with workers.

    OMP_NUM_THREADS=1 python benchmarks/photographs.py [--size 640x480] [--workers 0,1,2] [--parquet FILE]

Generated JPEG files are read, decoded, padded, resized to CLIP's 336 pixels and tokenised like released
data; wall time, because workers have cores of their own. Also prints how many samples a second a GPU
(--gpu, at --utilisation) trains in a study without a `vision_cache` (--config). Takes a minute.
"""

import io
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from common import compute_ratio, report
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.utils.data import DistributedSampler
from transformers import CLIPImageProcessorPil

from vlmscale.cli.output import number
from vlmscale.costs.gpus import load_gpus
from vlmscale.data.columns import SAMPLE
from vlmscale.data.shards import write_split
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.models.pixels import to_pixels
from vlmscale.planning.trainings import list_trainings
from vlmscale.study.load import load_study
from vlmscale.training.backbones import train_tokenizer
from vlmscale.training.batch_split import split_batch
from vlmscale.training.batches import Batches
from vlmscale.training.data import Collate, Conversations
from vlmscale.training.spec import TokenizerSpec

STUDIES = Path(__file__).parents[1] / "config"
VOCABULARY = [f"word{i}" for i in range(1000)]
BATCH = 16


def make_photograph(rng: np.random.Generator, width: int, height: int) -> bytes:
    """Make a JPEG with structure at several scales, about as large as a photograph's."""
    layers = [
        Image.fromarray(rng.integers(0, 256, (height // n, width // n, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for n in (64, 16, 8)
    ]
    mixed = Image.blend(Image.blend(layers[0], layers[1], 0.4), layers[2], 0.3)
    file = io.BytesIO()
    mixed.save(file, format="JPEG", quality=90)
    return file.getvalue()


def write_photographs(folder: Path, samples: int, width: int, height: int) -> float:
    """Write the split, and return the mean kilobytes of an image."""
    rng = np.random.default_rng(0)

    def make_text(words: int) -> str:
        return " ".join(rng.choice(VOCABULARY, words))

    rows = [
        {
            "id": str(i),
            "image": {"bytes": make_photograph(rng, width, height), "path": None},
            "image_key": str(i),
            "conversations": [
                {"from": "human", "value": f"<image>\n{make_text(40)}"},
                {"from": "gpt", "value": make_text(80)},
            ],
        }
        for i in track(range(samples), description="photographs")
    ]
    write_split(folder, {"0000": rows}, SAMPLE, {})
    return sum(len(row["image"]["bytes"]) for row in rows) / 1e3 / samples


class NoCache(dict[int, Any]):
    """A cache that stores nothing, as for large splits."""

    def __ior__(self, other: Any) -> "NoCache":  # type: ignore[override, misc]
        return self


def make_batches(folder: Path, workers: int) -> Batches:
    tokenizer = load_tokenizer(folder / "tokenizer")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=336)
    dataset = Conversations(
        folder / "data",
        tokenizer,
        template="qa",
        visual_tokens=1,
        query_turn=None,
        max_length=2048,
        apart=False,
        seed=0,
        pixels=lambda images: to_pixels(images, processor, "pad"),
    )
    dataset.cache = NoCache()
    return Batches(
        dataset,
        Collate(tokenizer, reads_question=False, image_input="pixel_values"),
        split_batch(BATCH, 1, None),
        DistributedSampler(dataset, 1, 0, seed=0),
        rank=0,
        workers=workers,
        pin_memory=False,
    )


def measure_rate(source: Batches) -> float:
    """Return the samples a second of one epoch."""
    started = time.perf_counter()
    seen = sum(len(batch["sample_ids"]) for batch in source)
    return seen / (time.perf_counter() - started)


def compute_demand(study: Path, gpu: str, utilisation: float) -> pd.DataFrame:
    """Return the samples a second that one GPU trains, by stage, LLM and visual tokens."""
    found = pd.DataFrame(list_trainings(load_study(study))).query("method == 'tokenpacker'")
    flops = load_gpus()[gpu].bf16_tflops * 1e12 * utilisation
    found = found.assign(samples_per_second=flops / (found["flops"] / found["samples"]))
    keys = ["stage", "llm", "visual_tokens"]
    return found.groupby(keys, as_index=False, sort=False)["samples_per_second"].first()


def main(
    size: Annotated[str, typer.Option(help="of a photograph, width x height")] = "640x480",
    samples: Annotated[int, typer.Option(help="of the split")] = 256,
    workers: Annotated[str, typer.Option(help="numbers of workers, by comma")] = "0,1,2",
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after a warm-up")] = 5,
    config: Annotated[Path, typer.Option(help="the study whose trainings are fed")] = STUDIES
    / "paper.yaml",
    gpu: Annotated[str, typer.Option(help="row of src/vlmscale/resources/gpus.csv")] = "a100",
    utilisation: Annotated[float, typer.Option(help="share of its peak")] = 0.4,
    parquet: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    width, height = map(int, size.split("x"))
    numbers = [int(n) for n in workers.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kilobytes = write_photographs(folder / "data", samples, width, height)
        train_tokenizer(TokenizerSpec(words=VOCABULARY, template="qa", output=folder / "tokenizer"))
        sources = {n: make_batches(folder, n) for n in numbers}
        rates: dict[int, list[float]] = {n: [] for n in numbers}
        for repetition in track(range(repetitions + 1), description="measuring"):
            for n, source in sources.items():
                rate = measure_rate(source)
                if repetition:
                    rates[n].append(rate)
    rows: list[dict[str, Any]] = [
        {
            "workers": n,
            "samples_per_second": median(rates[n]),
            **compute_ratio(rates[n], rates[numbers[0]]),
        }
        for n in numbers
    ]
    report(
        "speed_photographs",
        rows,
        parquet,
        clock="wall",
        size=size,
        kilobytes=round(kilobytes),
        samples=samples,
        repetitions=repetitions,
    )
    demand = Table("stage", "LLM", "V", f"samples/s of one {gpu}")
    for row in compute_demand(config, gpu, utilisation).to_dict("records"):
        demand.add_row(*(str(v) for v in list(row.values())[:3]), number(row["samples_per_second"]))
    Console(width=110).print(demand)


if __name__ == "__main__":
    typer.run(main)
