"""Perceiver resampler: learned latents attend to all patches and to each other."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

DEPTH, HEADS, HEAD_WIDTH = 6, 8, 64
INNER = HEADS * HEAD_WIDTH


class Perceiver(Projector):
    """Resample patches to V learned latents in six attention layers, then apply LLaVA-1.5's MLP.

    Alayrac et al. 2022, arXiv 2204.14198; LLaVA-VL/LLaVA-NeXT multimodal_resampler/perceiver.py.
    Differences: no time embeddings, as there is a single image. Depth 6 is the default of the paper and of
    that file; LLaVA-NeXT's training script sets 3. As released, patches have only the tower's positions.
    """

    source = "Flamingo, arXiv 2204.14198"
    counts = "any"
    weights = "v*d + 6*(4*512*d + 8*d*d + 6*d) + 2*d + d*n + n + n*n + n"
    # per layer: projections of query and output, of key and value; attention, feed-forward; then the MLP
    multiply_adds = "6*(2*v*d*512 + 2*(p + v)*d*512 + 2*v*(p + v)*512 + 8*v*d*d) + v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        d = widths.tower
        self.latents = nn.Parameter(torch.randn(setting.visual_tokens, d))
        self.layers = nn.ModuleList(_Layer(d) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(d)
        self.mlp = build_mlp(d, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n)."""
        latents = repeat(self.latents, "v d -> b v d", b=len(features.patches))
        for layer in self.layers:
            latents = layer(features.patches, latents)
        return self.mlp(self.norm(latents))


class _Layer(nn.Module):
    """Pre-norm layer: latents attend to patches and latents, then a feed-forward block; both residual."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.patch_norm, self.latent_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query = nn.Linear(d, INNER, bias=False)
        self.key_value = nn.Linear(d, 2 * INNER, bias=False)
        self.output = nn.Linear(INNER, d, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(d),
            nn.Linear(d, 4 * d, bias=False),
            nn.GELU(),
            nn.Linear(4 * d, d, bias=False),
        )

    def forward(self, patches: Tensor, latents: Tensor) -> Tensor:
        """Update latents (b, v, d) from patches (b, p, d) -> (b, v, d)."""
        normed = self.latent_norm(latents)
        read = torch.cat([self.patch_norm(patches), normed], dim=1)
        query = rearrange(self.query(normed), "b v (h c) -> b h v c", h=HEADS)
        key, value = rearrange(self.key_value(read), "b t (two h c) -> two b h t c", two=2, h=HEADS)
        mixed = F.scaled_dot_product_attention(query, key, value)
        latents = latents + self.output(rearrange(mixed, "b h v c -> b v (h c)"))
        return latents + self.feed_forward(latents)
