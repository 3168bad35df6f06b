"""Keep some patches and merge the patches with similar keys into them, as PruMerge and PruMerge+ do."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vlmscale.models.features import VisionFeatures

# b images, p patches, k patches that may be kept, d width of the tower

NEIGHBOURS = 32  # merged into a kept patch, as released; all others on a smaller grid


def rank_by_attention(features: VisionFeatures) -> Tensor:
    """Rank the patches of each image by falling attention of the CLS position: (b, p) indices."""
    assert features.cls_attention is not None
    return features.cls_attention.argsort(dim=1, descending=True, stable=True)


def count_outliers(features: VisionFeatures) -> Tensor:
    """Count the patches of each image with attention above Q3 + 1.5 IQR: (b,), at least 1."""
    assert features.cls_attention is not None
    attention = features.cls_attention.float()
    first, third = attention.quantile(attention.new_tensor([0.25, 0.75]), dim=1)
    bound = third + 1.5 * (third - first)
    return (attention > bound[:, None]).sum(dim=1).clamp(min=1)


def merge_patches(features: VisionFeatures, ranking: Tensor, counts: Tensor, most: int) -> Tensor:
    """Keep the first `counts` patches of `ranking`, merge similar ones into them, and sum up the rest.

    ranking (b, p) holds every patch once; counts (b,) <= most. Returns (b, most + 1, d): slot i is the
    i-th patch of the ranking, to be ignored from `counts` on; the last slot sums up the patches not
    kept. Weights are the attention on the merged patch, not normalised.
    """
    assert features.cls_attention is not None
    assert features.keys is not None
    patches, attention = features.patches, features.cls_attention.float()
    chosen = ranking[:, :most]
    kept = torch.arange(most, device=ranking.device) < counts[:, None]

    keys = F.normalize(features.keys.float(), dim=-1)
    itself = chosen[..., None]  # (b, k, 1)
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


def mark_filled_slots(counts: Tensor, most: int) -> Tensor:
    """Return which of the slots of `merge_patches` are filled, (b, most + 1) bool."""
    kept = torch.arange(most, device=counts.device) < counts[:, None]
    return F.pad(kept, (0, 1), value=True)
