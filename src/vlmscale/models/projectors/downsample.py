"""A smaller image: the baseline that compresses before the vision tower."""

from typing import ClassVar

from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp, find_region_side
from vlmscale.settings import Setting


class Downsample(Projector):
    """The image is shrunk until the tower gives g x g patches, then LLaVA-1.5's MLP on each.

    The baseline of Liao et al. 2025, arXiv 2510.07143. Differences: their tower takes any resolution;
    here the tower has one resolution, and its positions are interpolated.
    """

    source = "image downsampling, arXiv 2510.07143"
    needs = ("pixels",)
    options: ClassVar = {"training": ("trained", "free")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.side, _ = find_region_side(setting.visual_tokens, widths.grid_side)
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches_at(g) (b, g g, d) -> (b, v, n)."""
        return self.mlp(features.patches_at(self.side))
