"""A pass of the LLM in training: the last hidden state where something is learned, and what that needs.

Every layer leaves out padding and all that stands behind a sequence's last learned token; the last layer
looks at all that is left, and computes what is learned alone.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, rotate_half
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from vlmscale.models.conversation import IGNORED

# b sequences, t tokens of each, c chosen ones of all sequences, w the most of any sequence, h heads, d the
# width of a head, n of the LLM

_KNOWN_LAYERS = (LlamaDecoderLayer, Qwen2DecoderLayer)


def next_tokens(labels: Tensor) -> Tensor:
    """What each position has to predict, IGNORED where nothing is learned: (b, t) -> (b, t)."""
    return functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def learned_states(
    llm: Any,
    embeds: Tensor,
    learned: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> Tensor:
    """The last hidden state where `learned` (b, t) is true, sequence by sequence: (c, n).

    The same, and with the same gradients, up to rounding, as from transformers' own pass over embeds
    (b, t, n), which does for decoders of other kinds than Llama's and Qwen2's. attention_mask: (b, t), or
    bool (b, 1, t, t) as `pad_batch` makes it.
    """
    if not all(isinstance(layer, _KNOWN_LAYERS) for layer in llm.layers):
        whole = llm(inputs_embeds=embeds, attention_mask=attention_mask, position_ids=position_ids)
        return _Places.of(learned).pick(whole.last_hidden_state)
    needed = learned.flip(1).cummax(1).values.flip(1)
    needed[:, 0] = True  # so that every sequence has something
    keys, queries = _Places.of(needed), _Places.of(learned)
    if position_ids is None:
        position_ids = torch.arange(embeds.shape[1], device=embeds.device).expand_as(learned)
    cos, sin = llm.rotary_emb(embeds, keys.pick(position_ids)[None])
    rotation = cos[0, :, None], sin[0, :, None]
    seen = _seen(attention_mask, needed, keys.width)
    at_last = _seen_from(queries.columns(), seen, keys.width)
    hidden = keys.pick(embeds)
    bias = None if seen is None else _bias(seen, hidden)
    *layers, last = llm.layers
    for layer in layers:
        hidden = _checkpointed(layer, hidden, rotation, keys, bias)
    asking = keys.pick(learned).nonzero()[:, 0]
    bias = _bias(at_last, hidden)
    states: Tensor = llm.norm(_checkpointed(last, hidden, rotation, keys, bias, queries, asking))
    return states


@dataclass(frozen=True)
class _Places:
    """Chosen tokens of padded sequences, and where they stand when these alone are padded, on the right."""

    chosen: Tensor  # (c,) of b t
    padded: Tensor  # (c,) of b w
    sequences: int  # b
    length: int  # t
    width: int  # w, at least one

    @classmethod
    def of(cls, which: Tensor) -> "_Places":
        """which: (b, t) bool."""
        width = max(1, int(which.sum(dim=1).max()))
        rows = torch.arange(len(which), device=which.device)[:, None]
        chosen = which.flatten().nonzero()[:, 0]
        padded = (rows * width + which.cumsum(dim=1) - 1).flatten()[chosen]
        return cls(chosen, padded, len(which), which.shape[1], width)

    def pick(self, values: Tensor) -> Tensor:
        """(b, t, ...) -> (c, ...)."""
        return values.flatten(0, 1).index_select(0, self.chosen)

    def pad(self, heads: Tensor) -> Tensor:
        """(c, h, d) -> (b, h, w, d), zeros where there is nothing."""
        rows = heads.new_zeros(self.sequences * self.width, *heads.shape[1:])
        rows = rows.index_copy(0, self.padded, heads)
        return rows.unflatten(0, (self.sequences, self.width)).transpose(1, 2)

    def unpad(self, heads: Tensor) -> Tensor:
        """(b, h, w, d) -> (c, h d)."""
        return heads.transpose(1, 2).flatten(0, 1).flatten(1).index_select(0, self.padded)

    def columns(self) -> Tensor:
        """Where in its sequence each token stands, (b, w), 0 where there is nothing."""
        columns = torch.zeros(
            self.sequences * self.width, dtype=torch.long, device=self.chosen.device
        )
        columns = columns.index_copy(0, self.padded, self.chosen % self.length)
        return columns.unflatten(0, (self.sequences, self.width))


def _seen(attention_mask: Tensor | None, needed: Tensor, width: int) -> Tensor | None:
    """What each of the first `width` positions sees: bool (b, 1, w, w), or None: all up to itself."""
    if attention_mask is None:
        return None
    if attention_mask.ndim == 4:
        return attention_mask[:, :, :width, :width]
    if attention_mask[needed].all():
        return None
    before = torch.ones(width, width, dtype=torch.bool, device=needed.device).tril()
    # A token that nobody may see sees itself at least, or its attention would be no number.
    itself = torch.eye(width, dtype=torch.bool, device=needed.device)
    return before & attention_mask[:, None, None, :width].bool() | itself


def _seen_from(columns: Tensor, seen: Tensor | None, width: int) -> Tensor:
    """What the positions in these columns (b, s) see: bool (b, 1, s, w)."""
    if seen is None:
        return (torch.arange(width, device=columns.device) <= columns[..., None])[:, None]
    return seen.gather(2, columns[:, None, :, None].expand(-1, -1, -1, width))


def _bias(seen: Tensor, hidden: Tensor) -> Tensor:
    """What is added to attention scores, of the type of `hidden`: made here once, not in each layer."""
    return torch.zeros_like(seen, dtype=hidden.dtype).masked_fill(~seen, float("-inf"))


def _checkpointed(layer: Any, hidden: Tensor, *rest: Any) -> Tensor:
    """`_layer`, its activations computed again in the backward pass where Trainer asks for that."""
    if layer.gradient_checkpointing and layer.training:
        again: Tensor = layer._gradient_checkpointing_func(partial(_layer, layer), hidden, *rest)
        return again
    return _layer(layer, hidden, *rest)


def _layer(
    layer: Any,
    hidden: Tensor,
    rotation: tuple[Tensor, Tensor],
    keys: _Places,
    bias: Tensor | None,
    queries: _Places | None = None,
    asking: Tensor | None = None,
) -> Tensor:
    """The layer's output for hidden (c, n), all `keys`; or for `queries` alone, at `asking` among them."""
    attention, normed = layer.self_attn, layer.input_layernorm(hidden)
    key = _rotated(_heads(attention.k_proj(normed), attention), rotation)
    value = _heads(attention.v_proj(normed), attention)
    if queries is None or asking is None:
        queries = keys
    else:
        hidden, normed = hidden.index_select(0, asking), normed.index_select(0, asking)
        rotation = rotation[0].index_select(0, asking), rotation[1].index_select(0, asking)
    query = _rotated(_heads(attention.q_proj(normed), attention), rotation)
    values = functional.scaled_dot_product_attention(
        queries.pad(query),
        keys.pad(key),
        keys.pad(value),
        attn_mask=bias,
        dropout_p=attention.attention_dropout if attention.training else 0.0,
        is_causal=bias is None,
        scale=attention.scaling,
        enable_gqa=attention.num_key_value_groups > 1,
    )
    hidden = hidden + attention.o_proj(queries.unpad(values))
    out: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return out


def _heads(projected: Tensor, attention: Any) -> Tensor:
    """(c, h d) -> (c, h, d)."""
    return projected.unflatten(-1, (-1, attention.head_dim))


def _rotated(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    return heads * cos + rotate_half(heads) * sin
