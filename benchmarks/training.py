"""Time a training step of stage 2 beside plain LLaVA's: tokens/s, utilisation, gain of fewer visual tokens.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--widths 256,512] [--batches 2,4] [--parquet FILE]

Plain LLaVA is transformers' LlavaForConditionalGeneration with the weights of our `mlp` at all 576
patches; both losses must agree before anything is timed. A step is forward, backward, clipping and AdamW
on projector and LLM, with the tower frozen; the answer is supervised. "of ideal" is the speed-up over
plain LLaVA as a share of the ratio of tokens, (576 + text) / (V + text). Utilisation counts all positions,
as a share of the fastest product of matrices here, or of a GPU's data sheet (--gpu). Takes some minutes.
"""

from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from common import (
    DEVICE,
    build_ours,
    build_plain_llava,
    compute_ratio,
    find_peak_gflops,
    llm_config,
    report,
    time_rounds,
    tower_config,
)
from torch import nn

from vlmscale.costs.flops import training_gflops
from vlmscale.costs.shapes import read_decoder, read_tower
from vlmscale.models.conversation import IGNORED
from vlmscale.training.loop import freeze

SIDE, PATCHES = 24, 576
QUESTION, ANSWER = 40, 24  # tokens of the text


class Step:
    """A model with its optimiser and a batch; a call is one training step."""

    def __init__(self, model: nn.Module, tokens: int, batch: int, vocabulary: int) -> None:
        self.model = model.train()
        freeze(model, trainable=[model.model.multi_modal_projector, model.model.language_model])
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=1e-4, fused=True)
        generator = torch.Generator().manual_seed(0)
        text = torch.randint(vocabulary - 1, (batch, QUESTION + ANSWER), generator=generator)
        image = torch.full((batch, tokens), vocabulary - 1)
        ids = torch.cat([image, text], dim=1)
        labels = ids.clone()
        labels[:, : tokens + QUESTION] = IGNORED
        side = model.config.vision_config.image_size
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": labels,
            "pixel_values": torch.randn(batch, 3, side, side, generator=generator),
        }
        self.inputs = {name: value.to(DEVICE) for name, value in inputs.items()}

    def loss(self) -> torch.Tensor:
        """Compute the loss of the batch."""
        bf16 = DEVICE.type == "cuda"
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
            found: torch.Tensor = self.model(**self.inputs).loss
        return found

    def __call__(self) -> None:
        self.loss().backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()


def measure_steps(
    width: int, layers: int, vocabulary: int, batch: int, counts: list[int], repetitions: int
) -> list[dict[str, Any]]:
    """Return a row for plain LLaVA and for ours at each count."""
    text, vision = llm_config(width, layers, vocabulary), tower_config(SIDE)
    make = partial(build_ours, text, vision, image_token=vocabulary - 1)
    mlp = make("mlp", PATCHES)
    steps = {"plain LLaVA": Step(build_plain_llava(mlp), PATCHES, batch, vocabulary)}
    for v in counts:
        model = mlp if v == PATCHES else make("tokenpacker", v)
        steps[str(v)] = Step(model, v, batch, vocabulary)
    if PATCHES in counts:
        torch.testing.assert_close(steps[str(PATCHES)].loss(), steps["plain LLaVA"].loss())
    times = time_rounds(steps, repetitions)
    rows = []
    for name, seconds in times.items():
        v = int(name) if name.isdigit() else PATCHES
        method = "mlp" if v == PATCHES else "tokenpacker"
        cost = training_gflops(
            read_decoder(mlp.config.text_config.to_dict()),
            read_tower(mlp.config.vision_config.to_dict(), len(mlp.config.layers)),
            method,
            v,
            QUESTION + ANSWER,
            llm_trained=True,
        )
        tokens = v + QUESTION + ANSWER
        ideal = (PATCHES + QUESTION + ANSWER) / tokens
        faster = compute_ratio(times["plain LLaVA"], seconds)
        row = {
            "model": "plain LLaVA" if name == "plain LLaVA" else f"ours, {method}",
            "width": width,
            "llm_parameters": sum(p.numel() for p in mlp.model.language_model.parameters()),
            "visual_tokens": v,
            "batch": batch,
            "step_seconds": median(seconds),
            "tokens_per_second": batch * tokens / median(seconds),
            "gflops_per_second": batch * cost.total / median(seconds),
            **faster,
            "ideal_ratio": ideal,
            "of_ideal": faster["ratio"] / ideal,
        }
        rows.append(row)
    return rows


def main(
    widths: Annotated[str, typer.Option(help="of LLMs, by comma")] = "256,512",
    layers: Annotated[int, typer.Option(help="of each LLM")] = 4,
    vocabulary: Annotated[int, typer.Option(help="of each LLM")] = 4096,
    visual_tokens: Annotated[str, typer.Option(help="by comma; 576 is all")] = "576,144,36,9,1",
    batches: Annotated[str, typer.Option(help="samples of a step, by comma")] = "2,4",
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after a warm-up")] = 7,
    gpu: Annotated[str | None, typer.Option(help="row of src/vlmscale/resources/gpus.csv")] = None,
    parquet: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    counts = [int(v) for v in visual_tokens.split(",")]
    peak = find_peak_gflops(gpu)
    rows = []
    for width in map(int, widths.split(",")):
        for batch in map(int, batches.split(",")):
            rows += measure_steps(width, layers, vocabulary, batch, counts, repetitions)
    for row in rows:
        row["mfu"] = row["gflops_per_second"] / peak
    report("speed_training", rows, parquet, peak_gflops_per_second=peak, repetitions=repetitions)


if __name__ == "__main__":
    typer.run(main)
