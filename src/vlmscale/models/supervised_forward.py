"""A pass of the LLM in training: the last hidden state where something is learned, and what that needs.

Every layer leaves out what no learned position sees: padding, and what stands behind the last answer. The
last layer looks at all that is left, and computes what is learned alone.
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

# b sequences, t tokens of each, c chosen ones of all sequences, w the most of any sequence (s of those that
# are learned), h heads, d the width of a head, n of the LLM


def shift_labels(labels: Tensor) -> Tensor:
    """What each position has to predict, IGNORED where nothing is learned: (b, t) -> (b, t)."""
    return functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def compute_supervised_states(
    llm: Any,
    embeds: Tensor,
    learned: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> Tensor:
    """The last hidden state where `learned` (b, t) is true, sequence by sequence: (c, n).

    The same, and with the same gradients, up to rounding, as from transformers' own pass over embeds
    (b, t, n), which does for decoders of other kinds than Llama's and Qwen2's, and where something is
    learned from what no other position may see. attention_mask: (b, t), or bool (b, 1, t, t) as
    `pad_batch` makes it, where what a position sees sees nothing more than it does.
    """
    if not (all(map(_is_known, llm.layers)) and _is_seen(learned, attention_mask)):
        whole = llm(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        )
        return _Places.of(learned).pick(whole.last_hidden_state)
    if position_ids is None:
        position_ids = torch.arange(embeds.shape[1], device=embeds.device).expand_as(learned)
    keys, queries = _Places.of(_needed(learned, attention_mask)), _Places.of(learned)
    asking = keys.pick(learned).nonzero()[:, 0]
    seen = _seen(attention_mask, keys)
    seen_at_last = _rows(seen, queries.spread(keys.padded[asking] % keys.width), keys.width)
    cos, sin = llm.rotary_emb(embeds, keys.pick(position_ids)[None])
    rotation = cos[0, :, None], sin[0, :, None]
    hidden = keys.pick(embeds)
    bias = None if seen is None else _bias(seen, hidden)
    *layers, last = llm.layers
    for layer in layers:
        hidden = _checkpointed(layer, hidden, rotation, keys, bias)
    bias = _bias(seen_at_last, hidden)
    hidden = _checkpointed(last, hidden, rotation, keys, bias, queries, asking)
    states: Tensor = llm.norm(hidden)
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
        return _taken(values.flatten(0, 1), self.chosen)

    def spread(self, values: Tensor) -> Tensor:
        """(c, ...) -> (b, w, ...), zeros where there is nothing."""
        rows = _put(values, self.padded, self.sequences * self.width)
        return rows.unflatten(0, (self.sequences, self.width))

    def gathered(self, values: Tensor) -> Tensor:
        """(b, w, ...) -> (c, ...)."""
        return _taken(values.flatten(0, 1), self.padded)


class _Take(torch.autograd.Function):
    """Rows at these indices, no two the same: torch's own would add up their gradients, one by one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(values)
        return values.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _put(gradient, index, ctx.rows), None


class _Put(torch.autograd.Function):
    """Rows put at these indices among `rows` of zeros: torch's own would keep them for the way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(index)
        return values.new_zeros(rows, *values.shape[1:]).index_copy_(0, index, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return _taken(gradient, index), None, None


def _taken(values: Tensor, index: Tensor) -> Tensor:
    taken: Tensor = _Take.apply(values, index)
    return taken


def _put(values: Tensor, index: Tensor, rows: int) -> Tensor:
    put: Tensor = _Put.apply(values, index, rows)
    return put


def _is_known(layer: Any) -> bool:
    """Whether `_layer` computes what this layer does."""
    window = getattr(layer.self_attn, "sliding_window", None)
    return isinstance(layer, LlamaDecoderLayer | Qwen2DecoderLayer) and window is None


def _is_seen(learned: Tensor, attention_mask: Tensor | None) -> bool:
    if attention_mask is None or attention_mask.ndim == 4:
        return True
    return not (learned & (attention_mask == 0)).any()


def _needed(learned: Tensor, attention_mask: Tensor | None) -> Tensor:
    """What learned positions see, (b, t)."""
    if attention_mask is not None and attention_mask.ndim == 4:
        return (attention_mask[:, 0] & learned[:, :, None]).any(dim=1)
    before = learned.flip(1).cummax(dim=1).values.flip(1)
    return before if attention_mask is None else before & attention_mask.bool()


def _seen(attention_mask: Tensor | None, keys: _Places) -> Tensor | None:
    """What each of `keys` sees of them, bool (b, w, w); None: all up to itself, as of those seen at all."""
    if attention_mask is None or attention_mask.ndim == 2:
        return None
    columns = keys.spread(keys.chosen % keys.length)
    rows = attention_mask[:, 0].gather(1, columns[:, :, None].expand(-1, -1, keys.length))
    seen = rows.gather(2, columns[:, None].expand(-1, keys.width, -1))
    return seen.tril()  # nothing stands behind the last one


def _rows(seen: Tensor | None, slots: Tensor, width: int) -> Tensor:
    """What is seen by those in these slots (b, s): bool (b, s, w)."""
    if seen is None:
        return torch.arange(width, device=slots.device) <= slots[..., None]
    return seen.gather(1, slots[..., None].expand(-1, -1, width))


def _bias(seen: Tensor, hidden: Tensor) -> Tensor:
    """What is added to attention scores, (b, 1, ...), of hidden's type: made once, not in each layer."""
    return torch.zeros_like(seen, dtype=hidden.dtype).masked_fill(~seen, float("-inf"))[:, None]


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
    # Not left to the attention's enable_gqa, which on GPUs has no fast kernel together with a bias.
    if (shared := attention.num_key_value_groups) > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    if queries is None or asking is None:
        queries = keys
    else:
        hidden, normed = _taken(hidden, asking), _taken(normed, asking)
        rotation = rotation[0].index_select(0, asking), rotation[1].index_select(0, asking)
    query = _rotated(_heads(attention.q_proj(normed), attention), rotation)
    values = functional.scaled_dot_product_attention(
        queries.spread(query).transpose(1, 2),
        keys.spread(key).transpose(1, 2),
        keys.spread(value).transpose(1, 2),
        attn_mask=bias,
        dropout_p=attention.attention_dropout if attention.training else 0.0,
        is_causal=bias is None,
        scale=attention.scaling,
    )
    mixed = queries.gathered(values.transpose(1, 2)).flatten(1)
    hidden = hidden + attention.o_proj(mixed)
    out: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return out


def _heads(projected: Tensor, attention: Any) -> Tensor:
    """(c, h d) -> (c, h, d)."""
    return projected.unflatten(-1, (-1, attention.head_dim))


def _rotated(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    return heads * cos + rotate_half(heads) * sin
