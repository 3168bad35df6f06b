"""Average pooling, the baseline that any trained projector must beat."""

from typing import ClassVar

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


class AvgPool(Projector):
    """The mean over each region of patches, then LLaVA-1.5's two-layer MLP.

    LLaVA-VL/LLaVA-NeXT multimodal_resampler/spatial_pool.py, mode average. Differences: none; it
    stands before the MLP.
    """

    source = "LLaVA-NeXT, spatial pool"
    options: ClassVar = {"training": ("trained", "free")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.side, _ = find_region_side(setting.visual_tokens, widths.grid_side)
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n), regions row by row."""
        pooled = average_regions(features.patches, self.side)
        return self.mlp(pooled)
