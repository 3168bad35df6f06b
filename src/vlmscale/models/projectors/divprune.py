"""DivPrune: the patches that differ most from each other."""

from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting


class DivPrune(Projector):
    """Keeps the v patches that differ most from each other after the MLP, in the order of the image.

    Alvar et al. 2025, arXiv 2503.02175; vbdi/divprune. Written from its description: a max-min
    diversity problem, solved greedily, with one minus the cosine as distance. Differences: each image of
    a batch has its own choice, wherever its tokens stand; of equal distances the earlier patch wins; any
    v, where the paper rounds a share of the patches.
    """

    source = "DivPrune, arXiv 2503.02175"
    counts = "any"
    options: ClassVar = {"training": ("free",)}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    # the MLP on every patch; the distances between all of them
    multiply_adds = "p*(d*n + n*n) + p*p*n"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n)."""
        tokens = self.mlp(features.patches)
        kept = choose_diverse(tokens.detach(), self.visual_tokens).sort(dim=1).values
        return tokens.take_along_dim(rearrange(kept, "b v -> b v 1"), dim=1)


def choose_diverse(tokens: Tensor, count: int) -> Tensor:
    """Choose `count` of the tokens (b, p, n) greedily: (b, count), in the order of their choice.

    The first is the token whose nearest other is farthest; each next one is the token whose nearest
    chosen one is farthest.
    """
    units = functional.normalize(tokens.float(), dim=-1)
    with torch.autocast(units.device.type, enabled=False):  # in 16 bits many would be equally far
        distance = 1 - units @ units.transpose(1, 2)  # (b, p, p)
    nearest = distance.diagonal_scatter(
        torch.full_like(distance[..., 0], torch.inf), dim1=1, dim2=2
    ).amin(dim=2)
    free = torch.zeros_like(nearest)  # -inf where chosen
    chosen: list[Tensor] = []
    for _ in range(count):
        pick = (nearest + free).argmax(dim=1, keepdim=True)  # (b, 1), of equals the first
        free = free.scatter(1, pick, -torch.inf)
        own = distance.take_along_dim(rearrange(pick, "b 1 -> b 1 1"), dim=1)[:, 0]
        nearest = own if not chosen else torch.minimum(nearest, own)
        chosen.append(pick)
    return torch.cat(chosen, dim=1)
