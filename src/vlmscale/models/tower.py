"""Features of the frozen vision tower."""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

# i images, p patches, l selected layers, d tower width


def compute_tower_features(
    tower: PreTrainedModel, pixel_values: Tensor, layers: list[int]
) -> Tensor:
    """Compute selected hidden states, CLS position first, joined on channels: (i, 1 + p, l d).

    Layer 0 is the embedding, layer k the output of block k, without the final norm (as in LLaVA).
    Images may be smaller than the tower's: its positions are interpolated.
    """
    with torch.no_grad():
        hidden = tower(
            pixel_values, output_hidden_states=True, interpolate_pos_encoding=True
        ).hidden_states
    return torch.cat([hidden[layer] for layer in layers], dim=-1)


def compute_last_attention(tower: PreTrainedModel, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Compute attention of CLS to each patch (i, p) in the tower's last block, and patches' keys (i, p, d).

    Attention is that of one head of full width. hidden (i, 1 + p, d): the input of that block.
    """
    block = tower.get_submodule("encoder.layers")[-1]
    with torch.no_grad():
        hidden = block.layer_norm1(hidden.to(block.layer_norm1.weight.dtype))
        query, keys = block.self_attn.q_proj(hidden[:, :1]), block.self_attn.k_proj(hidden)
        scores = query.float() @ keys.float().transpose(1, 2) / hidden.shape[-1] ** 0.5
    return scores.softmax(-1)[:, 0, 1:], keys[:, 1:]


def compute_shrunk_patches(
    tower: PreTrainedModel, pixel_values: Tensor, side: int, *, layer: int
) -> Tensor:
    """Compute the patches of images shrunk to side x side patches: (i, side side, d)."""
    pixels = side * tower.config.patch_size
    small = functional.interpolate(
        pixel_values.float(), size=(pixels, pixels), mode="bicubic", antialias=True
    ).to(pixel_values.dtype)
    return compute_tower_features(tower, small, [layer])[:, 1:]
