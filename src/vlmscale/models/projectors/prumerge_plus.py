"""PruMerge+: PruMerge whose kept patches also cover the image evenly."""

from typing import ClassVar

import torch
from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.models.token_merging import (
    count_outliers,
    mark_filled_slots,
    merge_patches,
    rank_by_attention,
)
from vlmscale.settings import Setting


class PruMergePlus(Projector):
    """The patches that the tower's CLS position attends to and patches at regular distances, each
    with its 32 nearest by keys merged into it, and one token for all the rest; then the MLP.

    Shang et al. 2024, arXiv 2403.15388; 42Shawn/LLaVA-PruMerge multimodal_encoder/clip_encoder.py,
    which always runs this variant, with `count: adaptive`. Written from its description. Differences:
    half of a fixed count lies at regular distances, as in the code's rule for training, but a patch
    that is chosen twice makes room for the next one; adaptive counts are found for each image, not
    over the batch, and an image that wants more than v tokens gets the fixed v; an image without
    outliers counts as one with one; a stride is one at least; any grid side and width.
    """

    source = "arXiv 2403.15388"
    needs = ("tower_attention",)
    counts = "any"
    options: ClassVar = {"training": ("free", "trained"), "count": ("fixed", "adaptive")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    # similarity of keys; the merging itself; the MLP
    multiply_adds = "(v - 1)*p*d + v*p*d + v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.adaptive = setting.options["count"] == "adaptive"
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor | tuple[Tensor, Tensor]:
        """features.patches, keys (b, p, d), cls_attention (b, p) -> (b, v, d_llm): kept patches by
        falling attention, the regular ones row by row, then the rest; if adaptive also which of them
        are there, (b, v).
        """
        most = self.visual_tokens - 1
        order = rank_by_attention(features)
        ranking, counts = _fixed(order, most)
        if self.adaptive:
            wanted, number = _adaptive(order, count_outliers(features))
            fits = number <= most
            ranking = torch.where(fits[:, None], wanted, ranking)
            counts = torch.where(fits, number, counts)
        out: Tensor = self.mlp(merge_patches(features, ranking, counts, most))
        return (out, mark_filled_slots(counts, most)) if self.adaptive else out


def _fixed(order: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """`kept` patches, half of them in the middle of equal stretches of patches, whatever `order` says.

    order (b, p), patches by falling attention -> a ranking (b, p) and how much of it is kept (b,).
    """
    p, regular = order.shape[1], kept // 2
    places = torch.arange(regular, device=order.device)
    on_grid = torch.zeros(p, dtype=torch.bool, device=order.device)
    on_grid[(2 * places + 1) * p // (2 * max(1, regular))] = True
    # Go down the order until it has given enough patches that the grid does not have.
    off_grid = ~on_grid[order]
    given_before = off_grid.cumsum(dim=1) - off_grid.long()
    tops = (given_before < kept - regular).sum(dim=1)
    return _tops_then_grid(order, tops, on_grid.expand_as(order))


def _adaptive(order: Tensor, tops: Tensor) -> tuple[Tensor, Tensor]:
    """The first `tops` (b,) of each order (b, p), and about three times as many on a grid.

    Returns a ranking (b, p) and how much of it is kept (b,).
    """
    p = order.shape[1]
    stride = (p // tops // 3).clamp(min=1)
    place = torch.arange(p, device=order.device)
    on_grid = (place % stride[:, None] == 0) & (place < p - 1)  # never the last patch, as released
    return _tops_then_grid(order, tops, on_grid)


def _tops_then_grid(order: Tensor, tops: Tensor, on_grid: Tensor) -> tuple[Tensor, Tensor]:
    """Patches ranked: the first `tops` (b,) of `order` (b, p), those on the grid (b, p) row by row,
    the others. Returns the ranking (b, p) and how many the first two are (b,).
    """
    p = order.shape[1]
    rank, place = order.argsort(dim=1), torch.arange(p, device=order.device)
    key = torch.where(rank < tops[:, None], rank, place + torch.where(on_grid, p, 2 * p))
    return key.argsort(dim=1), (key < 2 * p).sum(dim=1)
