"""LDPv2, MobileVLM V2's projector: pooled features, and a convolution that encodes their positions."""

from einops import rearrange
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import (
    Projector,
    Widths,
    average_regions,
    build_mlp,
    find_region_side,
)
from vlmscale.settings import Setting


class Ldpv2(Projector):
    """LLaVA-1.5's MLP on each patch, the mean over each region, a depth-wise convolution with residual.

    Chu et al. 2024, arXiv 2402.03766; Meituan-AutoML/MobileVLM mobilevlm/model/vision_projector.py.
    Differences: any grid; the released one has 12 x 12 tokens.
    """

    source = "MobileVLM V2, arXiv 2402.03766"
    weights = "d*n + n + n*n + n + 9*n + n"
    multiply_adds = "p*(d*n + n*n) + 9*v*n"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.side, _ = find_region_side(setting.visual_tokens, widths.grid_side)
        n = widths.llm
        self.mlp = build_mlp(widths.tower, n)
        self.position = nn.Conv2d(n, n, kernel_size=3, padding=1, groups=n)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n), regions row by row."""
        pooled = average_regions(self.mlp(features.patches), self.side)
        grid = rearrange(pooled, "b (h w) n -> b n h w", h=self.side)
        return pooled + rearrange(self.position(grid), "b n h w -> b (h w) n")
