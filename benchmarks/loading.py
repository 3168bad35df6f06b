"""Time loading beside a training step: reading, tokenising and collating a batch.

    OMP_NUM_THREADS=1 python benchmarks/loading.py [--batch 32] [--parquet loading.parquet]

The generated world, LLMs and tower of config/mini.yaml with random weights and stored features. `first`
batches have samples that are not cached, `again` those of later epochs. A step is forward, backward,
clipping and AdamW, without Trainer's own work. Takes a minute.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from common import DEVICE, build_ours, compute_ratio, report, time_rounds
from torch import nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from vlmscale.data.shards import read_unique_images
from vlmscale.data.world.generate import generate_split
from vlmscale.data.world.questions import list_vocabulary
from vlmscale.images import decode_image
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.models.feature_store import FeatureStore, write_store
from vlmscale.settings import IMAGE_TOKEN, Counts
from vlmscale.study.kinds import GeneratedStudy
from vlmscale.study.load import load_study
from vlmscale.training.backbones import train_tokenizer
from vlmscale.training.data import Collate, Conversations
from vlmscale.training.loop import freeze, keep_freed_memory
from vlmscale.training.spec import TokenizerSpec

STUDY = Path(__file__).parents[1] / "config" / "mini.yaml"


def prepare(study: GeneratedStudy, folder: Path, samples: int) -> CLIPVisionConfig:
    """Write data, a tokenizer and stored features of random weights, as in a study."""
    shape, size = study.tower, study.world.image_size
    mix = study.data.stage2  # its share of images decides what a step costs
    whole = mix.scenes + mix.pages + mix.text
    scenes, pages = (samples * part // whole for part in (mix.scenes, mix.pages))
    counts = Counts(scenes=scenes, pages=pages, text=samples - scenes - pages)
    generate_split(study.world, "stage2", counts, folder / "data", sample=0, patch=shape.patch_size)
    train_tokenizer(
        TokenizerSpec(
            words=list_vocabulary(study.world), template="qa", output=folder / "tokenizer"
        )
    )
    config = CLIPVisionConfig(
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        image_size=size,
        patch_size=shape.patch_size,
    )
    CLIPVisionModel(config).save_pretrained(folder / "tower")
    CLIPImageProcessorPil(
        size={"height": size, "width": size}, do_center_crop=False
    ).save_pretrained(folder / "tower")
    images = read_unique_images(folder / "data")
    layers = [shape.layers - 1, shape.layers]
    decoded = ((key, decode_image(content, key)) for key, content in images)
    write_store(folder / "tower", decoded, len(images), folder / "vision", feature_layers=layers)
    return config


class Loading:
    """Batches of a split; a call loads the next one."""

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        tokens: int,
        batch: int,
        *,
        cached: bool,
    ) -> None:
        self.dataset = Conversations(
            folder / "data",
            tokenizer,
            template="qa",
            visual_tokens=tokens,
            query_turn=None,
            max_length=2048,
            apart=True,
            seed=0,
            features=FeatureStore(folder / "vision"),
        )
        self.collate = Collate(tokenizer, reads_question=False, image_input="vision_features")
        self.batch, self.cached, self.orders = batch, cached, self._orders()

    def _orders(self) -> Iterator[list[int]]:
        rng, size = np.random.default_rng(0), self.batch
        while True:
            order = rng.permutation(len(self.dataset)).tolist()
            yield from (order[i : i + size] for i in range(0, len(order) - size + 1, size))

    def __call__(self) -> dict[str, Any]:
        if not self.cached:
            self.dataset.cache.clear()
        samples = self.dataset.__getitems__(next(self.orders))
        return self.collate(samples, np.random.default_rng(0))


def build_step(model: nn.Module, batch: dict[str, Any]) -> Any:
    """Build a function that runs one step of stage 2 on a batch."""
    inputs = {k: v.to(DEVICE) for k, v in batch.items() if isinstance(v, torch.Tensor)}
    freeze(model.train(), trainable=[model.model.multi_modal_projector, model.model.language_model])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step() -> None:
        model(**inputs).loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def main(
    batch: Annotated[int, typer.Option(help="samples")] = 32,
    visual_tokens: Annotated[int, typer.Option(help="of TokenPacker")] = 9,
    samples: Annotated[int, typer.Option(help="of the split")] = 960,
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after a warm-up")] = 15,
    parquet: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    study = load_study(STUDY)
    assert isinstance(study, GeneratedStudy)
    keep_freed_memory()  # as a training does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vision = prepare(study, folder, samples)
        tokenizer = load_tokenizer(folder / "tokenizer")
        image = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
        first = Loading(folder, tokenizer, visual_tokens, batch, cached=False)
        again = Loading(folder, tokenizer, visual_tokens, batch, cached=True)
        again.dataset.__getitems__(range(len(again.dataset)))
        cases: dict[str, Any] = {"first": first, "again": again}
        for llm, shape in study.llms.items():
            text = Qwen2Config(
                hidden_size=shape.hidden_size,
                intermediate_size=shape.intermediate_size,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.heads,
                vocab_size=len(tokenizer),
                tie_word_embeddings=True,
                bos_token_id=None,
            )
            model = build_ours(text, vision, "tokenpacker", visual_tokens, image_token=image)
            cases[llm] = build_step(model, again())
        times = time_rounds(cases, repetitions)
    rows = [
        {
            "llm": llm,
            "batch": batch,
            "step_ms": 1e3 * median(times[llm]),
            **{f"{kind}_ms": 1e3 * median(times[kind]) for kind in ("first", "again")},
            **compute_ratio(times["first"], times[llm], "first_share"),
            **compute_ratio(times["again"], times[llm], "again_share"),
        }
        for llm in study.llms
    ]
    report("speed_loading", rows, parquet, repetitions=repetitions, visual_tokens=visual_tokens)


if __name__ == "__main__":
    typer.run(main)
