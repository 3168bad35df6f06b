"""Photographs to batches: how many samples a second one process makes, alone and with workers.

    OMP_NUM_THREADS=1 python benchmarks/photographs.py [--size 640x480] [--workers 0,1,2] [--parquet FILE]

A split of generated JPEG files, read, decoded, padded, resized to CLIP's 336 pixels and tokenised, as
released data are. By the wall clock: workers have cores of their own, where there are some. Beside it,
what a GPU (--gpu, at the utilisation assumed for it) takes of the trainings of a study without a
`vision_cache` (--config): with fewer samples than that it waits. Takes a minute.
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
from common import ratio, shown
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import CLIPImageProcessorPil

from vlmscale.cli.output import number
from vlmscale.data.shards import SAMPLE, write_split
from vlmscale.latency import machine
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.models.pixels import to_pixels
from vlmscale.planning.trainings import load_gpus, planned_trainings
from vlmscale.records.parquet import write_parquet
from vlmscale.resources import find_resource
from vlmscale.study.load import load_study
from vlmscale.training.backbones import train_tokenizer
from vlmscale.training.batch_split import split_batch
from vlmscale.training.batches import Batches
from vlmscale.training.data import Collate, Conversations
from vlmscale.training.sampler import ShuffledSampler
from vlmscale.training.spec import TokenizerSpec

STUDIES = Path(__file__).parents[1] / "config"
VOCABULARY = [f"word{i}" for i in range(1000)]
BATCH = 16


def photograph(rng: np.random.Generator, width: int, height: int) -> bytes:
    """A JPEG with structure at several scales, about as large as a photograph's."""
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
    """The split; kilobytes of an image."""
    rng = np.random.default_rng(0)

    def said(words: int) -> str:
        return " ".join(rng.choice(VOCABULARY, words))

    rows = [
        {
            "id": str(i),
            "image": {"bytes": photograph(rng, width, height), "path": None},
            "image_key": str(i),
            "conversations": [
                {"from": "human", "value": f"<image>\n{said(40)}"},
                {"from": "gpt", "value": said(80)},
            ],
        }
        for i in track(range(samples), description="photographs")
    ]
    write_split(folder, {"0000": rows}, SAMPLE, {})
    return sum(len(row["image"]["bytes"]) for row in rows) / 1e3 / samples


class Forgotten(dict[int, Any]):
    """Keeps nothing: of a large split every sample is tokenised anew."""

    def __ior__(self, other: Any) -> "Forgotten":  # type: ignore[override, misc]
        return self


def batches(folder: Path, workers: int) -> Batches:
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
    dataset.cache = Forgotten()
    return Batches(
        dataset,
        Collate(tokenizer, reads_question=False, image_input="pixel_values"),
        split_batch(BATCH, 1, None),
        ShuffledSampler(len(dataset), seed=0),
        rank=0,
        workers=workers,
        pin_memory=False,
    )


def samples_a_second(source: Batches) -> float:
    """Of an epoch."""
    started = time.perf_counter()
    seen = sum(len(batch["sample_ids"]) for batch in source)
    return seen / (time.perf_counter() - started)


def wanted(study: Path, gpu: str, utilisation: float) -> pd.DataFrame:
    """Samples a second that one GPU takes, by stage, LLM and visual tokens."""
    found = pd.DataFrame(planned_trainings(load_study(study))).query("method == 'tokenpacker'")
    flops = load_gpus(find_resource("gpus.csv"))[gpu].bf16_tflops * 1e12 * utilisation
    found = found.assign(samples_per_second=flops / (found["flops"] / found["samples"]))
    keys = ["stage", "llm", "visual_tokens"]
    return found.groupby(keys, as_index=False, sort=False)["samples_per_second"].first()


def main(
    size: Annotated[str, typer.Option(help="of a photograph, width x height")] = "640x480",
    samples: Annotated[int, typer.Option(help="of the split")] = 256,
    workers: Annotated[str, typer.Option(help="numbers of workers, by comma")] = "0,1,2",
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after one that warms up")] = 5,
    config: Annotated[Path, typer.Option(help="the study whose trainings are fed")] = STUDIES
    / "paper.yaml",
    gpu: Annotated[str, typer.Option(help="row of src/vlmscale/resources/gpus.csv")] = "a100",
    utilisation: Annotated[float, typer.Option(help="share of its peak")] = 0.4,
    parquet: Annotated[Path | None, typer.Option(help="write the figures here")] = None,
) -> None:
    width, height = map(int, size.split("x"))
    numbers = [int(n) for n in workers.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kilobytes = write_photographs(folder / "data", samples, width, height)
        train_tokenizer(TokenizerSpec(words=VOCABULARY, template="qa", output=folder / "tokenizer"))
        sources = {n: batches(folder, n) for n in numbers}
        rates: dict[int, list[float]] = {n: [] for n in numbers}
        for repetition in track(range(repetitions + 1), description="measuring"):
            for n, source in sources.items():
                rate = samples_a_second(source)
                if repetition:
                    rates[n].append(rate)
    rows: list[dict[str, Any]] = [
        {
            "workers": n,
            "samples_per_second": median(rates[n]),
            **ratio(rates[n], rates[numbers[0]]),
        }
        for n in numbers
    ]
    table = Table("workers", "samples/s", f"times {numbers[0]} workers")
    for row in rows:
        table.add_row(str(row["workers"]), number(row["samples_per_second"]), shown(row))
    asked = wanted(config, gpu, utilisation)
    needs = Table("stage", "LLM", "V", f"samples/s of one {gpu}")
    for row in asked.to_dict("records"):
        needs.add_row(*(str(v) for v in list(row.values())[:3]), number(row["samples_per_second"]))
    described = {
        "device": machine.processor_name(),
        "size": size,
        "kilobytes": round(kilobytes),
        "samples": samples,
        "repetitions": repetitions,
    }
    Console(width=110).print(table, needs, described)
    if parquet:
        write_parquet(parquet, pd.DataFrame(rows), described)


if __name__ == "__main__":
    typer.run(main)
