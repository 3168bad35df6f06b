"""VoCo-LLaMA: the LLM reads every patch once, into v tokens that are all its text sees of the image."""

from dataclasses import replace
from typing import ClassVar

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional

from vlmscale.models.features import VisionFeatures
from vlmscale.models.llm_input import LlmInput
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# b sequences, t positions of a pass, k keys


class VoCo(Projector):
    """LLaVA-1.5's MLP on all patches, then v learned tokens that attend to them in every layer of the LLM;
    text after the image attends to the v tokens and to no patch.

    Ye et al. 2024, arXiv 2406.12275; Yxxxb/VoCo-LLaMA llava_llama_1stg.py. Written from its
    description. `rows: shared` is as released, one row for all v, which differ by their positions; `own`
    learns v rows. `hide: before` hides all that comes before the v tokens, as released, where the system
    text follows the image; `patches` hides patches alone, because templates put the system text first.
    Differences: the newlines of conversations stay, and none stand around the v tokens; each row of a
    batch has its own mask; a method's own stage 1 trains with mask and tokens.
    """

    source = "VoCo-LLaMA, arXiv 2406.12275"
    counts = "any"
    options: ClassVar = {"rows": ("shared", "own"), "hide": ("patches", "before")}
    weights = 'd*n + n + n*n + n + n*((rows == "shared") + (rows == "own")*v)'
    multiply_adds = "p*(d*n + n*n)"
    positions = "p + v"
    kept = "v"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.patches = widths.grid_side**2
        self.mlp = build_mlp(widths.tower, widths.llm)
        rows = setting.visual_tokens if setting.options["rows"] == "own" else 1
        self.rows = nn.Parameter(torch.empty(rows, widths.llm).normal_(std=0.02))
        self.hides_all = setting.options["hide"] == "before"

    @property
    def placeholders(self) -> int:
        """Return patches and visual tokens: all enter the LLM."""
        return self.patches + self.visual_tokens

    def forward(self, features: VisionFeatures) -> Tensor:
        """Return projected features.patches (b, p, d), then v learned rows: (b, p + v, n)."""
        patches = self.mlp(features.patches)
        rows = self.rows.expand(self.visual_tokens, -1).to(patches.dtype)
        return torch.cat([patches, repeat(rows, "v n -> b v n", b=len(patches))], dim=1)

    def prepare_llm_input(self, given: LlmInput) -> LlmInput:
        """Hide each image's patches, or all before its v tokens, from the text that follows it."""
        number = given.places.cumsum(dim=1)
        until = number <= self.patches
        if not self.hides_all:
            hidden = functional.pad(given.places & until, (given.cached, 0))
        else:
            hidden = functional.pad(until, (given.cached, 0), value=True) & (number[:, -1:] > 0)
        return replace(given, hidden=hidden)
