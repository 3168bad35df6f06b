"""PruMerge+: PruMerge whose kept patches also cover the image evenly."""

from typing import ClassVar

import torch
from torch import Tensor

from vlmscale.models.projectors import prumerge
from vlmscale.models.projectors.base import Projector


# Projector is named as a base because vlmscale.methods finds the class by it, in the source.
class PruMergePlus(prumerge.PruMerge, Projector):
    """Patches most attended by the tower's CLS position and patches at regular distances, each merged
    with its 32 nearest by keys, and one token for all the rest; then the MLP.

    Shang et al. 2024, arXiv 2403.15388; 42Shawn/LLaVA-PruMerge multimodal_encoder/clip_encoder.py,
    which always runs this variant, with `count: adaptive`. Written from its description. Differences:
    half of a fixed count lies at regular distances, as in the code's rule for training, but a patch
    chosen twice makes room for the next one; adaptive counts are found for each image, not over the
    batch, and an image that needs more than v tokens gets the fixed v; an image without outliers counts
    as one with one; strides are at least one; any grid side and width.
    """

    source = "arXiv 2403.15388"
    needs = ("tower_attention",)
    counts = "any"
    options: ClassVar = {"training": ("free", "trained"), "count": ("fixed", "adaptive")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    # similarity of keys; the merging itself; the MLP
    multiply_adds = "(v - 1)*p*d + v*p*d + v*(d*n + n*n)"

    def rank(self, order: Tensor, most: int, outliers: Tensor) -> tuple[Tensor, Tensor]:
        """See PruMerge.rank. Patches at regular distances follow the most attended ones, row by row."""
        ranking, counts = _rank_fixed(order, most)
        if self.adaptive:
            wanted, number = _rank_adaptive(order, outliers)
            fits = number <= most
            ranking = torch.where(fits[:, None], wanted, ranking)
            counts = torch.where(fits, number, counts)
        return ranking, counts


def _rank_fixed(order: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Rank `kept` patches first, half of them from the middles of equal stretches of patches.

    order (b, p): patches by falling attention. Returns the ranking (b, p) and how many are kept (b,).
    """
    p, regular = order.shape[1], kept // 2
    places = torch.arange(regular, device=order.device)
    on_grid = torch.zeros(p, dtype=torch.bool, device=order.device)
    on_grid[(2 * places + 1) * p // (2 * max(1, regular))] = True
    # Go down the order until it has given enough patches that are not on the grid.
    off_grid = ~on_grid[order]
    given_before = off_grid.cumsum(dim=1) - off_grid.long()
    tops = (given_before < kept - regular).sum(dim=1)
    return _rank_tops_then_grid(order, tops, on_grid.expand_as(order))


def _rank_adaptive(order: Tensor, tops: Tensor) -> tuple[Tensor, Tensor]:
    """Rank the first `tops` (b,) of each order (b, p) first, and about three times as many on a grid.

    Returns the ranking (b, p) and how many are kept (b,).
    """
    p = order.shape[1]
    stride = (p // tops // 3).clamp(min=1)
    place = torch.arange(p, device=order.device)
    on_grid = (place % stride[:, None] == 0) & (place < p - 1)  # never the last patch, as released
    return _rank_tops_then_grid(order, tops, on_grid)


def _rank_tops_then_grid(order: Tensor, tops: Tensor, on_grid: Tensor) -> tuple[Tensor, Tensor]:
    """Rank the first `tops` (b,) of `order` (b, p), then those on the grid (b, p), then the others.

    Returns the ranking (b, p), each part row by row but the first, and the size of the first two (b,).
    """
    p = order.shape[1]
    rank, place = order.argsort(dim=1), torch.arange(p, device=order.device)
    key = torch.where(rank < tops[:, None], rank, place + torch.where(on_grid, p, 2 * p))
    return key.argsort(dim=1), (key < 2 * p).sum(dim=1)
