"""C-Abstractor, Honeybee's projector: convolutions before and after pooling."""

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, find_region_side
from vlmscale.settings import Setting

DEPTH = 3


class CAbstractor(Projector):
    """Patches with learned positions, a RegNet stage, the mean over each region, another stage, an MLP.

    Cha et al. 2024, arXiv 2312.06742; khanrc/honeybee honeybee/projectors/projectors.py, whose stages
    are timm's RegStage with its defaults: group width 1 (the 3 x 3 convolution is depth-wise),
    bottleneck ratio 1, squeeze to a quarter of the channels. Differences: the stages are as wide as any
    tower, as the released 1024 is for CLIP-L; it reads the layer that every method here reads, where
    Honeybee reads the last one.
    """

    source = "Honeybee, arXiv 2312.06742"
    # positions; six blocks: three convolutions, their norms, squeeze and excitation; the MLP
    weights = "p*d + 6*(2*d*d + 9*d + 6*d + d*d/2 + d/4 + d) + d*n + n + n*n + n"
    multiply_adds = "3*(p + v)*(2*d*d + 9*d) + 6*(d*d/2) + v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        d, n = widths.tower, widths.llm
        self.side, _ = find_region_side(setting.visual_tokens, widths.grid_side)
        self.position = nn.Parameter(torch.empty(widths.grid_side**2, d))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.fine = nn.Sequential(*(_Bottleneck(d) for _ in range(DEPTH)))
        self.coarse = nn.Sequential(*(_Bottleneck(d) for _ in range(DEPTH)))
        self.mlp = nn.Sequential(nn.Linear(d, n), nn.SiLU(), nn.Linear(n, n))
        self.apply(_initialise)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n), regions row by row."""
        grid = rearrange(
            features.patches + self.position, "b (h w) d -> b h w d", h=features.grid_side
        )
        pooled = reduce(
            self.fine(grid), "b (gh h) (gw w) d -> b gh gw d", "mean", gh=self.side, gw=self.side
        )
        return self.mlp(rearrange(self.coarse(pooled), "b gh gw d -> b (gh gw) d"))


class _Bottleneck(nn.Module):
    """RegNet's block: 1 x 1, 3 x 3, squeeze-excitation, 1 x 1 and the shortcut, then SiLU.

    Channels come last, so that a 1 x 1 convolution is a Linear and a norm over channels a LayerNorm.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(d, d, bias=False), nn.LayerNorm(d), nn.SiLU())
        self.spatial = nn.Conv2d(d, d, kernel_size=3, padding=1, groups=d, bias=False)
        self.spatial_norm = nn.Sequential(nn.LayerNorm(d), nn.SiLU())
        self.excite = nn.Sequential(
            nn.Linear(d, d // 4), nn.SiLU(), nn.Linear(d // 4, d), nn.Sigmoid()
        )
        self.leave = nn.Sequential(nn.Linear(d, d, bias=False), nn.LayerNorm(d))
        self.activation = nn.SiLU()

    def forward(self, grid: Tensor) -> Tensor:
        """(b, h, w, d) -> (b, h, w, d)."""
        inner = self.spatial(rearrange(self.enter(grid), "b h w d -> b d h w"))
        inner = self.spatial_norm(rearrange(inner, "b d h w -> b h w d"))
        inner = inner * self.excite(reduce(inner, "b h w d -> b 1 1 d", "mean"))
        return self.activation(grid + self.leave(inner))


def _initialise(module: nn.Module) -> None:
    """Initialise as released: normal 0.02 for every convolution and Linear, biases zero."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
