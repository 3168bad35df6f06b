"""VisionZip: the patches that the tower's CLS position attends to most, and merged ones for the rest."""

from typing import ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# c contextual tokens, r patches beside the dominant ones


class VisionZip(Projector):
    """Keeps the CLS position and the patches it attends to most (dominant tokens), merges the others by
    their keys into contextual tokens, then LLaVA-1.5's MLP.

    Yang et al. 2024, arXiv 2412.04467; dvlab-research/VisionZip visionzip/clip_encoder.py. Written from
    its description. About one token in six is contextual, as in the released settings (10 of 64, 20 of
    128, 30 of 192); a single token is the CLS position. Differences: every v; of equal attention the
    earlier patch is kept, of equally similar targets the earlier one takes a patch.
    """

    source = "VisionZip, arXiv 2412.04467"
    needs = ("block_attention", "cls")
    counts = "any"
    options: ClassVar = {"training": ("free", "trained")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    # similarity of keys, averaged over heads; the merging; the MLP
    multiply_adds = "(p - v + 1 + (5*v + 22)//32)*((5*v + 22)//32)*(d/h + d) + v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.contextual = count_contextual(setting.visual_tokens)
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches, block_keys (b, p, d), block_attention (b, h, p), cls (b, d).

        Returns (b, v, n): the CLS position, dominant patches and contextual ones, each in the order of
        the image.
        """
        attention = reduce(features.block_attention.float(), "b h p -> b p", "sum")
        order = attention.argsort(dim=1, descending=True, stable=True)
        most = self.visual_tokens - self.contextual - 1
        dominant = order[:, :most].sort(dim=1).values
        rest = order[:, most:].sort(dim=1).values
        heads = features.block_attention.shape[1]
        metric = reduce(features.block_keys.float(), "b p (h e) -> b p e", "mean", h=heads)
        merged = merge_by_keys(_take(features.patches, rest), _take(metric, rest), self.contextual)
        cls = rearrange(features.cls, "b d -> b 1 d")
        return self.mlp(torch.cat([cls, _take(features.patches, dominant), merged], dim=1))


def count_contextual(visual_tokens: int) -> int:
    """Return how many of the visual tokens merge patches: none of one, else at least one."""
    return (5 * visual_tokens + 22) // 32


def merge_by_keys(patches: Tensor, metric: Tensor, count: int) -> Tensor:
    """Merge r patches (b, r, d) into `count` of them: (b, c, d).

    Evenly spaced patches are targets. Each of the others joins the target whose metric (b, r, e) is most
    similar; a target becomes itself plus the mean of those that joined it.
    """
    if not count:
        return patches[:, :0]
    length = patches.shape[1]
    targets = torch.arange(count, device=patches.device) * (length // count)
    units = functional.normalize(metric, dim=-1)
    with torch.autocast(units.device.type, enabled=False):  # in 16 bits many would be equally near
        similarity = units @ units[:, targets].transpose(1, 2)  # (b, r, c)
    joins = functional.one_hot(similarity.argmax(dim=2), count).float()
    joins[:, targets] = 0
    share = joins / joins.sum(dim=1, keepdim=True).clamp(min=1)
    means = share.transpose(1, 2).to(patches.dtype) @ patches
    return patches[:, targets] + means


def _take(rows: Tensor, kept: Tensor) -> Tensor:
    """Take the rows (b, p, d) at `kept` (b, k): (b, k, d)."""
    return rows.take_along_dim(rearrange(kept, "b k -> b k 1"), dim=1)
