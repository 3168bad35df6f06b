"""TokenPacker: one coarse query per region, refined by attention to the region's fine features."""

from typing import ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vlmscale.models.attention import RegionAttention, build_normed_mlp
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp, find_region_side
from vlmscale.settings import Setting


class TokenPacker(Projector):
    """Down-sampled patches query the multi-layer features of their own region.

    Li et al. 2024, arXiv 2407.02392; CircleRadon/TokenPacker multimodal_projector/builder.py. The
    projector of the paper's scaling law. Written from its description. Differences: any grid side
    and width; `query_resize` adds two values to the released bilinear.
    """

    source = "arXiv 2407.02392"
    needs = ("multilayer",)
    weights = "d*d + 2*d + 2*(l*d*d + d*d + 4*d) + 4*(d*d + d) + d*n + n + n*n + n"
    # queries; keys and values; the attention's own projections and products; the MLP
    multiply_adds = "v*d*d + 2*p*(l*d*d + d*d) + 2*v*d*d + 2*p*d*d + 2*p*d + v*(d*n + n*n)"
    # bilinear, as released, has no anti-aliasing: it reads the two by two central patches of a
    # region of even side, the single central patch of a region of side 3.
    options: ClassVar = {"query_resize": ("bilinear", "antialias", "avgpool")}

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        d, d_multi = widths.tower, widths.tower * widths.layers
        self.side, self.window = find_region_side(setting.visual_tokens, widths.grid_side)
        self.query_resize = setting.options["query_resize"]
        self.query = nn.Sequential(nn.Linear(d, d, bias=False), nn.LayerNorm(d, eps=1e-6))
        self.key = build_normed_mlp(d_multi, d)
        self.value = build_normed_mlp(d_multi, d)
        self.attention = RegionAttention(d)
        self.mlp = build_mlp(d, widths.llm)
        self.apply(_initialise)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d), multilayer (b, p, l d) -> (b, v, n)."""
        query = self.query(self.shrink(features.patches, features.grid_side))
        key, value = self.key(features.multilayer), self.value(features.multilayer)
        return self.mlp(self.attention(query, key, value, side=self.side))

    def shrink(self, patches: Tensor, grid_side: int) -> Tensor:
        """Shrink the grid of patches: (b, p, d) -> (b, v, d)."""
        grid = rearrange(patches, "b (h w) d -> b d h w", h=grid_side)
        if self.query_resize == "avgpool":
            grid = F.avg_pool2d(grid, self.window)
        else:  # in float32, as released
            grid = F.interpolate(
                grid.float(),
                size=(self.side, self.side),
                mode="bilinear",
                align_corners=False,
                antialias=self.query_resize == "antialias",
            ).to(patches.dtype)
        return rearrange(grid, "b d h w -> b (h w) d")


def _initialise(module: nn.Module) -> None:
    """Initialise as released: normal 0.02 for every Linear, the attention's output included.

    0.02 is for 1024 channels; the deviation grows with the inverse square root of the width, so that
    outputs start equally large. The fused input projection keeps PyTorch's Xavier-uniform.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02 * (1024 / module.in_features) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
