"""PruMerge: the patches that the tower attends to most, with the others merged into them."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# k patches that may be kept

NEIGHBOURS = 32  # merged into a kept patch, as released; all others on a smaller grid


class PruMerge(Projector):
    """Patches most attended by the tower's CLS position, each merged with its 32 nearest by keys, and
    one token for all the rest; then LLaVA-1.5's two-layer MLP.

    Shang et al. 2024, arXiv 2403.15388; 42Shawn/LLaVA-PruMerge multimodal_encoder/clip_encoder.py.
    Written from its description. Differences: v - 1 patches, where the released code takes the
    outliers of each image (`count: adaptive`: at least one, at most v - 1); outliers are found for each
    image, not over the batch; any grid side and width.
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
        """Compress features.patches, keys (b, p, d), cls_attention (b, p) -> (b, v, n): kept patches in
        the order of `rank`, then the rest; if adaptive also which of them are present, (b, v).
        """
        most = self.visual_tokens - 1
        order = features.cls_attention.argsort(dim=1, descending=True, stable=True)
        ranking, counts = self.rank(order, most, count_outliers(features.cls_attention))
        kept = torch.arange(most, device=counts.device) < counts[:, None]
        out = self.mlp(merge_patches(features, ranking[:, :most], kept))
        return (out, F.pad(kept, (0, 1), value=True)) if self.adaptive else out

    def rank(self, order: Tensor, most: int, outliers: Tensor) -> tuple[Tensor, Tensor]:
        """Rank the patches to keep first, `most` at most: (b, p), and count them: (b,).

        order (b, p): patches by falling attention. outliers (b,): how many have very much of it.
        """
        counts = outliers.clamp(max=most) if self.adaptive else torch.full_like(outliers, most)
        return order, counts


def count_outliers(attention: Tensor) -> Tensor:
    """Count the patches of each image with attention (b, p) above Q3 + 1.5 IQR: (b,), at least 1."""
    attention = attention.float()
    first, third = attention.quantile(attention.new_tensor([0.25, 0.75]), dim=1)
    bound = third + 1.5 * (third - first)
    return (attention > bound[:, None]).sum(dim=1).clamp(min=1)


def merge_patches(features: VisionFeatures, chosen: Tensor, kept: Tensor) -> Tensor:
    """Merge into each of the `chosen` (b, k) patches those with similar keys, and sum up the rest.

    Returns (b, k + 1, d), to be ignored where `kept` (b, k) is false; the last slot sums up all patches
    that are not kept. Weights are the attention on the merged patch, not normalised.
    """
    patches, attention = features.patches, features.cls_attention.float()
    keys = F.normalize(features.keys.float(), dim=-1)
    itself = chosen[..., None]  # (b, k, 1)
    with torch.autocast(keys.device.type, enabled=False):  # in 16 bits many would be equally near
        similarity = keys.take_along_dim(itself, dim=1) @ keys.transpose(1, 2)  # (b, k, p)
    similarity = similarity.scatter(2, itself, -torch.inf)
    nearest = similarity.topk(min(NEIGHBOURS, patches.shape[1] - 1), dim=2).indices
    weights = attention[:, None].expand_as(similarity)
    merged = torch.zeros_like(similarity).scatter(
        2, nearest, weights.take_along_dim(nearest, dim=2)
    )
    merged = merged.scatter(2, itself, 1.0)
    left_over = attention.scatter(1, chosen, attention.take_along_dim(chosen, dim=1) * ~kept)
    mixing = torch.cat([merged, left_over[:, None]], dim=1)  # (b, k + 1, p)
    return mixing.to(patches.dtype) @ patches
