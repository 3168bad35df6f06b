"""Time pruning inside the LLM: removing tokens beside hiding them, with the same answers.

    OMP_NUM_THREADS=1 python benchmarks/pruning.py [--patches-side 16] [--parquet pruning.parquet]

A small LLM with random weights reads all patches of an image and 16 text tokens, then decodes. FastV keeps
`visual tokens` of them from its third layer on. `prefill` and `decode` are timed apart, in turn for both
ways. Answers of both are compared first. Takes two minutes.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from common import DEVICE, build_ours, compute_ratio, llm_config, report, time_rounds, tower_config
from torch import Tensor
from transformers import DynamicCache

from vlmscale.models.vlm import Vlm

TEXT, IMAGE_TOKEN, VOCABULARY = 16, 3, 512
WAYS = ("remove", "hide")


class Case:
    """One way to prune to one number of visual tokens, for a batch of prompts."""

    def __init__(self, model: Vlm, pruning: str, tokens: int, batch: int, steps: int) -> None:
        self.model, self.steps = model, steps
        setting = model.config.setting.model_copy(
            update={"visual_tokens": tokens, "options": {"training": "free", "pruning": pruning}}
        )
        model.use_setting(setting)
        self.projector = model.model.multi_modal_projector
        self.setting = setting
        patches = self.projector.placeholders
        generator = torch.Generator().manual_seed(0)
        text = torch.randint(4, VOCABULARY, (batch, TEXT), generator=generator)
        self.ids = torch.cat([torch.full((batch, patches), IMAGE_TOKEN), text], dim=1).to(DEVICE)
        width = model.config.text_config.hidden_size
        self.visual = torch.randn(batch * patches, width, generator=generator).to(DEVICE)

    def use(self) -> None:
        self.model.model.multi_modal_projector = self.projector
        self.model.config.setting = self.setting

    def prefill(self) -> tuple[Tensor, DynamicCache]:
        """Return the next token of each prompt, and the cache."""
        self.use()
        cache = DynamicCache(config=self.model.config.text_config)
        out = self.model(
            input_ids=self.ids, visual_embeds=self.visual, past_key_values=cache, logits_to_keep=1
        )
        return out.logits[:, -1].argmax(-1, keepdim=True), cache

    def decode(self, token: Tensor, cache: DynamicCache) -> Tensor:
        """Return the tokens of some more steps, (batch, steps)."""
        self.use()
        answer = []
        for _ in range(self.steps):
            out = self.model(input_ids=token, past_key_values=cache, logits_to_keep=1)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            answer.append(token)
        return torch.cat(answer, dim=1)

    def make_decoding(self) -> Callable[[], Tensor]:
        """Return a call that decodes after this prompt, each time from where the last one ended."""
        token, cache = self.prefill()
        return lambda: self.decode(token, cache)


def main(
    patches_side: Annotated[int, typer.Option(help="side of the grid of patches")] = 16,
    width: Annotated[int, typer.Option(help="of the LLM")] = 128,
    layers: Annotated[int, typer.Option(help="of the LLM")] = 8,
    batch: Annotated[int, typer.Option(help="prompts at once")] = 8,
    steps: Annotated[int, typer.Option(help="tokens decoded in a round")] = 16,
    repetitions: Annotated[int, typer.Option(min=2, help="rounds, after a warm-up")] = 15,
    parquet: Annotated[Path | None, typer.Option(help="write the table here")] = None,
) -> None:
    torch.set_num_threads(1)
    patches = patches_side**2
    model = build_ours(
        llm_config(width, layers, VOCABULARY),
        tower_config(patches_side),
        "fastv",
        1,
        image_token=IMAGE_TOKEN,
    ).eval()
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for removed in (patches // 4, patches // 2, 3 * patches // 4, patches - 1):
            made = {way: Case(model, way, patches - removed, batch, steps) for way in WAYS}
            answers = [case.decode(*case.prefill()) for case in made.values()]
            decoding = {way: case.make_decoding() for way, case in made.items()}
            kept = {way: _count_bytes(case.prefill()[1]) for way, case in made.items()}
            phases: dict[str, dict[str, Callable[[], object]]] = {
                "prefill": {way: case.prefill for way, case in made.items()},
                "decode": dict(decoding),
            }
            for phase, cases in phases.items():
                times = time_rounds(cases, repetitions)
                rows.append(
                    {
                        "phase": phase,
                        "patches": patches,
                        "removed": removed,
                        "remove_ms": 1e3 * median(times["remove"]),
                        "hide_ms": 1e3 * median(times["hide"]),
                        "bytes_share": kept["remove"] / kept["hide"],
                        "same_answers": float((answers[0] == answers[1]).float().mean()),
                        **compute_ratio(times["hide"], times["remove"]),
                    }
                )
    sizes = {"width": width, "layers": layers, "batch": batch, "steps": steps, "text": TEXT}
    report("speed_pruning", rows, parquet, repetitions=repetitions, **sizes)


def _count_bytes(cache: DynamicCache) -> int:
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


if __name__ == "__main__":
    typer.run(main)
