"""Blind: what can be answered without the image, the baseline for every score."""

import torch
from einops import repeat
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths
from vlmscale.settings import Setting


class Blind(Projector):
    """Trained tokens that are the same for every image.

    They learn what questions and their answers give away: no method that sees should do worse.
    """

    source = "baseline"
    counts = "any"
    weights = "v*n"
    multiply_adds = "0"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.tokens = nn.Parameter(torch.empty(setting.visual_tokens, widths.llm))
        nn.init.normal_(self.tokens, std=0.02)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Repeat the tokens for b images of any content: (b, v, n)."""
        return repeat(self.tokens, "v n -> b v n", b=len(features.patches))
