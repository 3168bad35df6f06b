"""M3: one model for every scale of average pooling, chosen at run time."""

from typing import ClassVar

import numpy as np
from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import (
    Projector,
    Widths,
    average_regions,
    build_mlp,
    find_region_side,
)
from vlmscale.settings import Setting


class M3(Projector):
    """LLaVA-1.5's two-layer MLP on every patch, then the mean over each region.

    Cai et al. 2024, Matryoshka Multimodal Models, arXiv 2405.17430; mu-cai/matryoshka-mm
    llava/model/llava_arch.py. Written from its description. Differences: it starts from its own
    stage 1 at full scale, as all methods do here, not from a trained LLaVA-1.5; any grid side.
    """

    source = "arXiv 2405.17430"
    options: ClassVar = {"training": ("elastic",)}
    served_by: ClassVar = {"elastic": ("self", "most")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "p*(d*n + n*n)"
    stage2_copies = "f + 1"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.grid_side = widths.grid_side
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures, visual_tokens: int | None = None) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n), regions row by row."""
        side, _ = find_region_side(visual_tokens or self.visual_tokens, features.grid_side)
        return average_regions(self.mlp(features.patches), side)

    def draw_training_counts(self, kind: str, rng: np.random.Generator) -> list[int]:
        """Return all patches in stage 1; in stage 2 every scale at once.

        As released, 1, 9, 36, 144 and 576 of 24 x 24 patches. On other grids each scale divides the side
        of the one before by its smallest divisor.
        """
        sides = [self.grid_side]
        while kind == "stage2" and sides[-1] > 1:
            factor = next(f for f in range(2, sides[-1] + 1) if sides[-1] % f == 0)
            sides.append(sides[-1] // factor)
        return [side * side for side in reversed(sides)]
