"""MQT: learned queries of which the first v are used, with v chosen at run time."""

import math
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vlmscale.models.attention import project
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths
from vlmscale.settings import Setting

HEAD_WIDTH = 64  # as released
TEMPERATURE = 10_000


class Mqt(Projector):
    """The first v of a grid of learned queries attend to the patches, then one matrix.

    Hu et al. 2024, Matryoshka Query Transformer, arXiv 2405.19315; gordonhu608/MQT-LLaVA
    multimodal_projector/builder.py. Written from its description. As released, keys are positions
    alone, so the same attention mixes every image; `keys: pos_plus_x` adds the patches. Differences:
    the side of the grid of queries is 2/3 of any grid's (16 of 24); heads have width 64 where the
    tower's width allows; positions are not rounded to half precision; v is always given, never drawn
    at inference.
    """

    source = "arXiv 2405.19315"
    counts = "any to (2*w//3)**2"
    options: ClassVar = {"training": ("elastic",), "keys": ("pos_only", "pos_plus_x")}
    served_by: ClassVar = {"elastic": ("self", "most")}
    weights = "(2*w//3)**2*d + 6*d + 4*(d*d + d) + d*n"
    # the attention's projections of queries, of keys and values, of the output; its products; the matrix
    multiply_adds = "v*d*d + 2*p*d*d + v*d*d + 2*v*p*d + v*d*n"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        d = widths.tower
        self.side = 2 * widths.grid_side // 3
        self.patches_in_keys = setting.options["keys"] == "pos_plus_x"
        self.query = nn.Parameter(torch.empty(self.side**2, d))
        self.query_norm = nn.LayerNorm(d, eps=1e-6)
        self.key_norm = nn.LayerNorm(d, eps=1e-6)
        self.value_norm = nn.LayerNorm(d, eps=1e-6)
        heads = math.gcd(d, max(1, d // HEAD_WIDTH))  # their number must divide the width
        self.attention = nn.MultiheadAttention(d, heads, batch_first=True)
        self.matrix = nn.Parameter(torch.empty(d, widths.llm))
        # Initialised as released; the attention's fused input projection keeps PyTorch's own.
        nn.init.trunc_normal_(self.query, std=0.02)
        nn.init.trunc_normal_(self.attention.out_proj.weight, std=0.02)
        nn.init.normal_(self.matrix, std=widths.llm**-0.5)

    def forward(self, features: VisionFeatures, visual_tokens: int | None = None) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n), from the first v queries."""
        patches, v = features.patches, visual_tokens or self.visual_tokens
        places = make_sine_positions(self.side, patches.shape[-1], patches.device)
        finer = F.interpolate(
            rearrange(places, "(h w) d -> 1 d h w", h=self.side),
            size=(features.grid_side, features.grid_side),
            mode="bicubic",
            align_corners=False,
        ).to(patches.dtype)
        query = self.query_norm(self.query[:v] + places[:v].to(patches.dtype))
        key = rearrange(finer, "1 d h w -> 1 (h w) d")
        if self.patches_in_keys:
            key = key + patches
        inputs = project(self.attention, query[None], self.key_norm(key), self.value_norm(patches))
        queries, keys, values = (
            rearrange(each, "b t (a e) -> b a t e", a=self.attention.num_heads).expand(
                len(patches), -1, -1, -1
            )
            for each in inputs
        )
        out = F.scaled_dot_product_attention(queries, keys, values)
        mixed: Tensor = self.attention.out_proj(rearrange(out, "b a t e -> b t (a e)"))
        return mixed @ self.matrix

    def draw_training_counts(self, kind: str, rng: np.random.Generator) -> list[int]:
        """Return all queries in stage 1; in stage 2 draw one of 2, 4, ... all, as released."""
        queries = self.side**2
        if kind == "stage1" or queries < 2:
            return [queries]
        return [2 * int(rng.integers(queries // 2)) + 2]


def make_sine_positions(side: int, d: int, device: torch.device) -> Tensor:
    """Make fixed positions on a grid: (side side, d), sines and cosines of the column, then of the row."""
    frequency = TEMPERATURE ** -(torch.arange(d // 4, device=device) / (d // 4))
    angle = torch.arange(side, device=device)[:, None] * frequency
    along = torch.cat([angle.sin(), angle.cos()], dim=1)  # (side, d / 2)
    column, row = along.repeat(side, 1), along.repeat_interleave(side, dim=0)
    return torch.cat([column, row], dim=1)
