"""Random patches, the baseline that any choice of patches must beat."""

from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

CHANNELS = 8  # channels that seed the draw
STEPS = 64  # rounding steps per standard deviation


class RandomPatches(Projector):
    """Keeps patches drawn at random, in the order of the image, then LLaVA-1.5's MLP.

    The baseline of Wen et al. 2025, arXiv 2502.11501. Differences: before the LLM, where they also prune
    inside it; the image itself seeds the draw, so that it keeps the same patches in training and
    evaluation, alone and in any batch. The patches at a small v are among those at a larger v.
    """

    source = "random selection, arXiv 2502.11501"
    counts = "any"
    options: ClassVar = {"training": ("free", "trained")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n)."""
        kept = _draw(features.patches, self.visual_tokens)
        rows = rearrange(torch.arange(len(kept), device=kept.device), "b -> b 1")
        return self.mlp(features.patches[rows, kept])


def _draw(patches: Tensor, count: int) -> Tensor:
    """Draw the positions of `count` patches of each image: (b, p, d) -> (b, count), ascending.

    The seed is the mean of a few channels in units of their spread, coarsely rounded: it differs
    between images, and rounding noise of another device or batch size almost never changes it.
    """
    some = patches[..., :: patches.shape[-1] // CHANNELS].detach().cpu().double()
    level = some.mean(dim=1) / (some.std(dim=1, correction=0) + 1e-6)
    seeds = (level * STEPS).round().long().numpy().view(np.uint64)
    draws = [np.random.default_rng(seed).permutation(patches.shape[1])[:count] for seed in seeds]
    return torch.from_numpy(np.sort(draws)).to(patches.device)
