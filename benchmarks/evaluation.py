"""Time our lmms-eval adapter beside lmms-eval's own for transformers' LLaVA, `llava_hf`.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py [--batch-sizes 1,32] [--parquet evaluation.parquet]
    python benchmarks/evaluation.py --model results/mini/runs/d36__mlp__v144__s0/stage2/model \
        --data results/mini/data/test

Both adapters get one model, the method `mlp` at all patches, and the same questions from lmms-eval in
turn. Only the adapters' own time counts, tower included, not loading and scoring; every round begins with
a fresh adapter. `llava_hf` takes one question at a time; an empty module replaces the video reader that it
imports. Without --model, weights are random and answers have the full length. Fails when fewer than 99 % of
the answers are the same. Takes a minute.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Annotated, Any

import typer
from common import (
    DEVICE,
    build_ours,
    build_plain_llava,
    clock,
    compute_ratio,
    llm_config,
    report,
    tower_config,
)
from lmms_eval.api.model import lmms
from transformers import CLIPImageProcessorPil, LlavaProcessor

from vlmscale.data.world.generate import generate_split
from vlmscale.data.world.questions import list_vocabulary
from vlmscale.evaluation.adapter import VlmScale
from vlmscale.evaluation.lmms_tasks import find_question_files
from vlmscale.evaluation.run import score_benchmark
from vlmscale.evaluation.spec import Benchmark, read_benchmarks
from vlmscale.jobs.entry import exit_with_message
from vlmscale.models.checkpoint import load, load_tokenizer
from vlmscale.models.processor import VlmProcessor
from vlmscale.settings import IMAGE_TOKEN, Counts
from vlmscale.study.load import load_study
from vlmscale.training.backbones import train_tokenizer
from vlmscale.training.spec import TokenizerSpec
from vlmscale.training.stages import save_checkpoint

STUDY = Path(__file__).parents[1] / "config" / "mini.yaml"


def make_study(folder: Path, images: int) -> tuple[Path, Path]:
    """Write a model with random weights, and questions on `images` scenes and as many pages."""
    study = load_study(STUDY)
    counts, patch = Counts(scenes=images, pages=images), study.tower.patch_size
    generate_split(study.world, "test", counts, folder / "test", sample=0, patch=patch)
    train_tokenizer(
        TokenizerSpec(
            words=list_vocabulary(study.world), template="qa", output=folder / "tokenizer"
        )
    )
    tokenizer = load_tokenizer(folder / "tokenizer")
    side = study.world.image_size // patch
    text, vision = llm_config(128, 2, len(tokenizer)), tower_config(side)
    text.eos_token_id, text.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    image = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    model = build_ours(text, vision, "mlp", side**2, image_token=image)
    size = {"height": vision.image_size, "width": vision.image_size}
    pixels = CLIPImageProcessorPil(size=size, do_center_crop=False, default_to_square=True)
    save_checkpoint(model, VlmProcessor(pixels, tokenizer, side**2), folder / "model")
    return folder / "model", folder / "test"


def save_plain(checkpoint: Path, folder: Path) -> Path:
    """Save the model as transformers' LLaVA."""
    model, processor = load(checkpoint)
    llava = build_plain_llava(model)
    llava.generation_config = model.generation_config
    llava.save_pretrained(folder)
    LlavaProcessor(
        processor.image_processor,
        processor.tokenizer,
        patch_size=model.config.vision_config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLS
    ).save_pretrained(folder)
    return folder


def load_llava_hf(folder: Path) -> lmms:
    """Load lmms-eval's adapter."""
    sys.modules.setdefault("decord", ModuleType("decord")).__dict__.update(
        VideoReader=None, cpu=None
    )
    from lmms_eval.models.simple.llava_hf import LlavaHf

    template = "{{ messages[0]['content'] }}"  # of `qa`: nothing around the question
    device = str(DEVICE)  # twice: its own default, an empty map, is refused by transformers
    return LlavaHf(
        str(folder), device=device, device_map=device, dtype="float32", chat_template=template
    )


class Timed:
    """Times an adapter over a round of benchmarks, and keeps its answers."""

    def __init__(self, make: Callable[[], lmms]) -> None:
        self.make = make
        self.answers: list[str] = []

    def time_round(self, benchmarks: list[Benchmark], data: Path, batch: int) -> float:
        model, seconds, answers = self.make(), 0.0, []
        generate = model.generate_until

        def timed(requests: list[Any]) -> list[str]:
            nonlocal seconds
            started = clock()
            found: list[str] = generate(requests)
            seconds += clock() - started
            return found

        model.generate_until = timed
        model.clean = lambda: None  # else it deletes the model after the first benchmark
        files = find_question_files(benchmarks, data)
        for benchmark in benchmarks:
            own = files[benchmark.benchmark]
            samples, _ = score_benchmark(model, benchmark, own, "lmms", batch)
            answers += samples["answer"].str.strip().tolist()
        self.answers = answers
        return seconds


@exit_with_message()
def main(
    model: Annotated[Path | None, typer.Option(help="a finished mlp model")] = None,
    data: Annotated[Path | None, typer.Option(help="its study's data/test")] = None,
    benchmarks: Annotated[str, typer.Option(help="by comma")] = "exist,attr,char,row",
    images: Annotated[int, typer.Option(help="of each kind, where they are made")] = 50,
    batch_sizes: Annotated[str, typer.Option(help="of ours, by comma")] = "1,32",
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after a warm-up")] = 3,
    parquet: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    questions = list(read_benchmarks(benchmarks.split(",")))
    sizes = [int(size) for size in batch_sizes.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if model is None or data is None:
            model, data = make_study(folder, images)
        theirs = save_plain(model, folder / "plain")
        cases = {0: Timed(lambda: load_llava_hf(theirs))}
        cases |= {size: Timed(lambda size=size: VlmScale(model, size)) for size in sizes}
        times: dict[int, list[float]] = {size: [] for size in cases}
        for repetition in range(repetitions + 1):
            for size, case in cases.items():
                seconds = case.time_round(questions, data, max(size, 1))
                if repetition:
                    times[size].append(seconds)
    reference, rows = cases[0].answers, []
    for size, case in cases.items():
        same = sum(map(str.__eq__, case.answers, reference)) / len(reference)
        row = {
            "adapter": f"ours, batches of {size}" if size else "llava_hf",
            "batch_size": max(size, 1),
            "questions": len(reference),
            "questions_per_second": len(reference) / median(times[size]),
            "same_answers": same,
            **compute_ratio(times[0], times[size]),
        }
        rows.append(row)
    report("speed_evaluation", rows, parquet, repetitions=repetitions, benchmarks=benchmarks)
    if any(row["same_answers"] < 0.99 for row in rows):
        sys.exit("error: the adapters' answers differ")


if __name__ == "__main__":
    typer.run(main)
