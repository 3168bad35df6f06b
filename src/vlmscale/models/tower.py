"""Features of the frozen vision tower, whose parts are named in settings/towers.py."""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from vlmscale.errors import UserError
from vlmscale.settings.towers import find_tower_family

# i images, s special positions (CLS, then registers), p patches, t all positions, l selected layers,
# d tower width, h heads, e width of a head


def count_special_positions(config: PreTrainedConfig) -> int:
    """Return the number of positions before the patches: s. Raises UserError for an unknown tower."""
    cls = int(find_tower_family(config.model_type).has_cls)
    return cls + getattr(config, "num_register_tokens", 0)


def find_image_side(config: PreTrainedConfig) -> int:
    """Return the pixels of a side of the tower's images. Raises UserError if they are not square."""
    return _find_side(config.image_size, "image_size")


def find_grid_side(config: PreTrainedConfig) -> int:
    """Return the side of the grid of patches, sqrt(p). A last column that is no whole patch is unused.

    Raises UserError for images or patches that are not square.
    """
    return find_image_side(config) // _find_side(config.patch_size, "patch_size")


def _find_side(size: int | list[int] | tuple[int, ...], name: str) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UserError(f"the tower's {name} is {size}: take a tower of square images and patches.")
    return sides.pop()


def compute_tower_features(
    tower: PreTrainedModel, pixel_values: Tensor, layers: list[int]
) -> Tensor:
    """Compute selected hidden states, special positions first, joined on channels: (i, s + p, l d).

    Layer 0 is the embedding, layer k the output of block k, without the final norm (as in LLaVA).
    Images may be smaller than the tower's: its positions are interpolated.
    """
    takes_any_size = find_tower_family(tower.config.model_type).takes_any_size
    size = {} if takes_any_size else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        hidden = tower(pixel_values, output_hidden_states=True, **size).hidden_states
    return torch.cat([hidden[layer] for layer in layers], dim=-1)


def compute_last_attention(tower: PreTrainedModel, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Compute attention of CLS to each patch (i, p) in the tower's last block, and patches' keys (i, p, d).

    Attention is that of one head of full width. hidden (i, s + p, d): the input of that block. The tower
    has a CLS position, which is the first.
    """
    family, special = (
        find_tower_family(tower.config.model_type),
        count_special_positions(tower.config),
    )
    block = tower.get_submodule(family.blocks)[-1]
    norm, attention = block.get_submodule(family.norm), block.get_submodule(family.attention)
    with torch.no_grad():
        hidden = norm(hidden.to(norm.weight.dtype))
        query, keys = attention.q_proj(hidden[:, :1]), attention.k_proj(hidden)
        scores = query.float() @ keys.float().transpose(1, 2) / hidden.shape[-1] ** 0.5
    return scores.softmax(-1)[:, 0, special:], keys[:, special:]


def compute_block_attention(
    tower: PreTrainedModel, hidden: Tensor, block: int
) -> tuple[Tensor, Tensor]:
    """Compute attention of CLS to each patch by head (i, h, p), and patches' keys (i, p, d), in a block.

    hidden (i, s + p, d): the input of `block`, counted from 0. Heads lie side by side in the keys. The
    tower has a CLS position, which is the first.
    """
    config = tower.config
    family, special = find_tower_family(config.model_type), count_special_positions(config)
    module = tower.get_submodule(family.blocks)[block]
    norm, attention = module.get_submodule(family.norm), module.get_submodule(family.attention)
    by_head = "i t (h e) -> i h t e"
    with torch.no_grad():
        hidden = norm(hidden.to(norm.weight.dtype))
        query, keys = attention.q_proj(hidden[:, :1]).float(), attention.k_proj(hidden)
        query, heads = (
            rearrange(each, by_head, h=config.num_attention_heads) for each in (query, keys.float())
        )
        scores = query @ heads.transpose(2, 3) / query.shape[-1] ** 0.5
    return scores.softmax(-1)[:, :, 0, special:], keys[:, special:]


def compute_shrunk_patches(
    tower: PreTrainedModel, pixel_values: Tensor, side: int, *, layer: int
) -> Tensor:
    """Compute the patches of images shrunk to side x side patches: (i, side side, d)."""
    pixels = side * _find_side(tower.config.patch_size, "patch_size")
    small = functional.interpolate(
        pixel_values.float(), size=(pixels, pixels), mode="bicubic", antialias=True
    ).to(pixel_values.dtype)
    features = compute_tower_features(tower, small, [layer])
    return features[:, count_special_positions(tower.config) :]


def resize_tower(tower: PreTrainedModel, image_size: int) -> None:
    """Let `tower` read images of image_size x image_size pixels: interpolate its positions, once.

    What it computes of such images stays the same. Raises UserError where no patch fits.
    """
    config, old = tower.config, tower.embeddings
    family = find_tower_family(config.model_type)
    if find_image_side(config) == image_size:
        return
    patch = _find_side(config.patch_size, "patch_size")
    if image_size < patch:
        raise UserError(f"tower.image_size: {image_size} pixels hold no patch of {patch}.")
    patches = (image_size // patch) ** 2
    weights = dict(old.state_dict())
    positions = weights[family.positions]
    shape = positions.new_empty((1, int(family.has_cls) + patches, positions.shape[-1]))
    with torch.no_grad():
        resized = old.interpolate_pos_encoding(shape, image_size, image_size)
    weights[family.positions] = resized.reshape(*positions.shape[:-2], -1, positions.shape[-1])
    config.image_size = image_size
    tower.embeddings = type(old)(config).to(positions.device, positions.dtype)
    tower.embeddings.load_state_dict(weights)
    tower.embeddings.train(old.training)
