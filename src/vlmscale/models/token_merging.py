"""A vision tower that merges similar patches in its blocks, between attention and MLP (ToMe)."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from vlmscale.costs.merging import plan_merges, split_rounds
from vlmscale.models.tower import compute_shrunk_patches, count_special_positions
from vlmscale.settings.towers import find_tower_family

# i images, s special positions, p patches that are left, t = s + p, d tower width, e width of a head,
# r merged patches


def make_patch_readers(
    tower: PreTrainedModel, pixel_values: Tensor, layer: int, dtype: torch.dtype
) -> dict[str, Callable[[int], Tensor]]:
    """Return what gives patches of the images themselves, by its field of VisionFeatures."""
    return {
        "patches_at": lambda side: compute_shrunk_patches(
            tower, pixel_values, side, layer=layer
        ).to(dtype),
        "merged_patches": lambda count: compute_merged_patches(
            tower, pixel_values, count, layer=layer
        ).to(dtype),
    }


@torch.no_grad()
def compute_merged_patches(
    tower: PreTrainedModel, pixel_values: Tensor, count: int, *, layer: int
) -> Tensor:
    """Compute `count` merged patches of each image, as block `layer` gives them: (i, count, d).

    layer: as of hidden states, 1 for the output of the first block. Merged patches are not in the order
    of the image.
    """
    config, special = tower.config, count_special_positions(tower.config)
    family = find_tower_family(config.model_type)
    hidden = tower.get_submodule("embeddings")(pixel_values)
    if hasattr(tower, "pre_layrnorm"):
        hidden = tower.get_submodule("pre_layrnorm")(hidden)
    size = torch.ones_like(hidden[..., :1], dtype=torch.float32)
    blocks = list(tower.get_submodule(family.blocks).children())[:layer]
    plan = plan_merges(hidden.shape[1] - special, count, layer)
    for block, merged in zip(blocks, plan, strict=True):
        attention: Any = block.get_submodule(family.attention)
        normed = block.get_submodule(family.norm)(hidden)
        # A merged patch is attended to as much as all that it stands for.
        bias = rearrange(size.log().to(hidden.dtype), "i t 1 -> i 1 1 t")
        bias = bias.expand(-1, -1, hidden.shape[1], -1)
        mixed, _ = attention(normed, attention_mask=bias)
        hidden = hidden + _scale(block, 1, mixed)
        if merged:
            keys = attention.k_proj(normed)
            keys = rearrange(keys, "i t (h e) -> i t h e", h=config.num_attention_heads)
            metric = reduce(keys.float(), "i t h e -> i t e", "mean")
            for part in split_rounds(hidden.shape[1] - special, merged):
                hidden, size, metric = merge_patches(hidden, size, metric, special, part)
        normed = block.get_submodule(family.norm.replace("1", "2"))(hidden)
        hidden = hidden + _scale(block, 2, block.get_submodule("mlp")(normed))
    return hidden[:, special:]


def merge_patches(
    hidden: Tensor, size: Tensor, metric: Tensor, special: int, merged: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge `merged` patches into others: hidden (i, t, d) and metric (i, t, e) -> t - merged positions.

    size (i, t, 1): of how many patches each position is the mean. Every second patch looks for the most
    similar of the others by the metric's cosine; the pairs that are most similar merge. What is left of
    those that looked comes first, then the others.
    """
    first, second = (slice(special + start, None, 2) for start in (1, 0))
    units = functional.normalize(metric, dim=-1)
    with torch.autocast(units.device.type, enabled=False):  # in 16 bits many would be as similar
        similarity = units[:, first] @ units[:, second].transpose(1, 2)
    best, partner = similarity.max(dim=2)
    order = best.argsort(dim=1, descending=True, stable=True)
    leaving = order[:, :merged]
    staying = order[:, merged:].sort(dim=1).values
    target = partner.gather(1, leaving)

    def merge(values: Tensor) -> Tensor:
        """Sum what merges: (i, t, n) -> (i, t - merged, n)."""
        looking, others = values[:, first], values[:, second]
        sums = others.scatter_add(
            1, _expand(target, values), looking.gather(1, _expand(leaving, values))
        )
        return torch.cat(
            [values[:, :special], looking.gather(1, _expand(staying, values)), sums], dim=1
        )

    weights = merge(size)
    means = [(merge(each.float() * size) / weights).to(each.dtype) for each in (hidden, metric)]
    return means[0], weights, means[1]


def _expand(index: Tensor, values: Tensor) -> Tensor:
    return rearrange(index, "i r -> i r 1").expand(-1, -1, values.shape[-1])


def _scale(block: nn.Module, number: int, values: Tensor) -> Tensor:
    """Apply the block's scale of its attention (1) or MLP (2), where it has one (DINOv2)."""
    name = f"layer_scale{number}"
    return block.get_submodule(name)(values) if hasattr(block, name) else values
