"""The LLM's training pass, computed only at the positions that the loss depends on.

Every layer skips what no supervised position attends to: padding, and what follows the last answer. The
last layer computes supervised positions only, with the others as keys and values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, rotate_half
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

from vlmscale.models.chosen_tokens import ChosenTokens, TakeRows, pick_tokens
from vlmscale.models.conversation import IGNORED
from vlmscale.models.packed_attention import PackedAttention, Packing, choose_packing

# b sequences, t tokens of each, c chosen tokens of all sequences, w the most chosen in one sequence (s of
# supervised ones), q queries, h heads, g heads of keys, d width of a head, n width of the LLM


def shift_labels(labels: Tensor) -> Tensor:
    """Return the label each position predicts, IGNORED without a loss: (b, t) -> (b, t)."""
    return functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def compute_supervised_states(
    llm: Any,
    embeds: Tensor,
    supervised: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    *,
    packing: Packing | None = None,
) -> Tensor:
    """Return the last hidden state where `supervised` (b, t) is true, sequence by sequence: (c, n).

    States and gradients equal those of transformers' own pass over embeds (b, t, n) up to rounding. That
    pass is used for decoders other than Llama's, Qwen2's and Qwen3's, and where a masked position is
    supervised. attention_mask: (b, t), or bool (b, 1, t, t), in which each position attends to itself and
    to none after it. packing: of attention, by default what `choose_packing` says.
    """
    if not (all(map(_is_known, llm.layers)) and _attends_to_itself(supervised, attention_mask)):
        outputs = llm(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        )
        return pick_tokens(outputs.last_hidden_state, supervised)
    if position_ids is None:
        position_ids = torch.arange(embeds.shape[1], device=embeds.device).expand_as(supervised)
    keys = ChosenTokens.of(_find_needed(supervised, attention_mask, len(llm.layers)))
    queries = ChosenTokens.of(supervised)
    rows = keys.pick(supervised).nonzero()[:, 0]
    attended = _gather_mask(attention_mask, keys)
    cos, sin = llm.rotary_emb(embeds, keys.pick(position_ids)[None])
    rotation = cos[0, :, None], sin[0, :, None]
    hidden = keys.pick(embeds)
    *layers, last = llm.layers
    attend: _PaddedAttention | PackedAttention
    attend_last: _PaddedAttention | PackedAttention
    if (packing or _choose_packing(last, hidden)) == "packed" and len(hidden):
        attend = attend_last = _pack(keys, attended)
    else:
        bias = None if attended is None else _make_bias(attended, hidden)
        attend = _PaddedAttention(keys, keys, bias)
        slots = queries.spread(keys.padded[rows] % keys.width)
        last_bias = _make_bias(_select_rows(attended, slots, keys.width), hidden)
        attend_last = _PaddedAttention(queries, keys, last_bias)
    parts = getattr(llm, "layer_parts", (_project, _finish))
    for layer in layers:
        hidden = _run_checkpointed(layer, hidden, rotation, attend, parts)
    hidden = _run_checkpointed(last, hidden, rotation, attend_last, parts, rows)
    return llm.norm(hidden)


@dataclass(frozen=True)
class _PaddedAttention:
    """Attention by torch's dense kernels, for which each sequence is padded."""

    queries: ChosenTokens
    keys: ChosenTokens
    bias: Tensor | None  # None: causal

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, dropout: float
    ) -> Tensor:
        """Attend from query (q, h, d) to key and value (c, g, d): (q, h, d)."""
        # Torch's enable_gqa has no fast kernel together with a bias on GPUs.
        if (shared := query.shape[1] // key.shape[1]) > 1:
            key, value = (each.repeat_interleave(shared, dim=1) for each in (key, value))
        values = functional.scaled_dot_product_attention(
            self.queries.spread(query).transpose(1, 2),
            self.keys.spread(key).transpose(1, 2),
            self.keys.spread(value).transpose(1, 2),
            attn_mask=self.bias,
            dropout_p=dropout,
            is_causal=self.bias is None,
            scale=scale,
        )
        return self.queries.gather(values.transpose(1, 2))


def _pack(keys: ChosenTokens, attended: Tensor | None) -> PackedAttention:
    """Return attention among `keys` without padding; attended as of `_gather_mask`."""
    sequence, slot = keys.padded // keys.width, keys.padded % keys.width
    lengths = sequence.new_zeros(keys.sequences)
    lengths = lengths.index_add_(0, sequence, torch.ones_like(sequence))
    if attended is None:
        return PackedAttention.of_sequences(lengths, keys.width)
    return PackedAttention.of_mask(attended, lengths, sequence, slot)


def _choose_packing(layer: Any, hidden: Tensor) -> Packing:
    attention = layer.self_attn
    dropout = attention.attention_dropout if attention.training else 0.0
    return choose_packing(hidden, head_width=attention.head_dim, dropout=dropout)


def _is_known(layer: Any) -> bool:
    """Return whether `_run_layer` computes what this layer does."""
    window = getattr(layer.self_attn, "sliding_window", None)
    return (
        isinstance(layer, LlamaDecoderLayer | Qwen2DecoderLayer | Qwen3DecoderLayer)
        and window is None
    )


def _attends_to_itself(supervised: Tensor, attention_mask: Tensor | None) -> bool:
    if attention_mask is None or attention_mask.ndim == 4:
        return True
    return not (supervised & (attention_mask == 0)).any()


def _find_needed(supervised: Tensor, attention_mask: Tensor | None, layers: int) -> Tensor:
    """Return which positions the supervised ones attend to, one step in each layer, (b, t) bool."""
    if attention_mask is not None and attention_mask.ndim == 4:
        needed = supervised
        # Fewer steps may be enough, but to see that, the host would wait for a GPU.
        for _ in range(layers):
            needed = (attention_mask[:, 0] & needed[:, :, None]).any(dim=1)
        return needed
    before = supervised.flip(1).cummax(dim=1).values.flip(1)
    return before if attention_mask is None else before & attention_mask.bool()


def _gather_mask(attention_mask: Tensor | None, keys: ChosenTokens) -> Tensor | None:
    """Return which of `keys` each of them attends to, bool (b, w, w); None: all up to itself."""
    if attention_mask is None or attention_mask.ndim == 2:
        return None
    columns = keys.spread(keys.chosen % keys.length)
    rows = attention_mask[:, 0].gather(1, columns[:, :, None].expand(-1, -1, keys.length))
    attended = rows.gather(2, columns[:, None].expand(-1, keys.width, -1))
    return attended.tril()  # padding is on the right


def _select_rows(attended: Tensor | None, slots: Tensor, width: int) -> Tensor:
    """Return the rows of `attended` in these slots: (b, s) -> bool (b, s, w)."""
    if attended is None:
        return torch.arange(width, device=slots.device) <= slots[..., None]
    return attended.gather(1, slots[..., None].expand(-1, -1, width))


def _make_bias(attended: Tensor, hidden: Tensor) -> Tensor:
    """Return what all layers add to their attention scores, (b, 1, ...), in the type of `hidden`."""
    bias = torch.zeros_like(attended, dtype=hidden.dtype)
    return bias.masked_fill(~attended, float("-inf"))[:, None]


def compile_layers(llm: Any) -> None:
    """Let `compute_supervised_states` run this LLM's layers, except attention, as torch.compile makes them.

    Layers share the compiled code, and one for any number of tokens.
    """
    llm.layer_parts = tuple(torch.compile(part, dynamic=True) for part in (_project, _finish))


def _run_checkpointed(layer: Any, hidden: Tensor, *rest: Any) -> Tensor:
    """Run a layer, with activation checkpointing where it is switched on."""
    if layer.gradient_checkpointing and layer.training:
        function = partial(_run_layer, layer)
        return layer._gradient_checkpointing_func(function, hidden, *rest)
    return _run_layer(layer, hidden, *rest)


def _run_layer(
    layer: Any,
    hidden: Tensor,
    rotation: tuple[Tensor, Tensor],
    attend: _PaddedAttention | PackedAttention,
    parts: tuple[Callable[..., Any], Callable[..., Tensor]],
    rows: Tensor | None = None,
) -> Tensor:
    """Return the layer's output for hidden (c, n), or for these `rows` of it. parts: _project, _finish."""
    project, finish = parts
    # Packed queries have to end with their keys, so rows are taken after attention there.
    early = rows if isinstance(attend, _PaddedAttention) else None
    query, key, value = project(layer, hidden, rotation, early)
    attention = layer.self_attn
    dropout = attention.attention_dropout if attention.training else 0.0
    mixed = attend(query, key, value, scale=attention.scaling, dropout=dropout)
    if rows is not None:
        hidden = TakeRows.apply(hidden, rows)
        mixed = TakeRows.apply(mixed, rows) if early is None else mixed
    return finish(layer, hidden, mixed.flatten(1))


def _project(
    layer: Any, hidden: Tensor, rotation: tuple[Tensor, Tensor], rows: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries of these `rows` of hidden (c, n), all if None, and keys and values of all."""
    attention, normed = layer.self_attn, layer.input_layernorm(hidden)
    key = _split_heads(attention.k_proj(normed), attention)
    if norms := hasattr(attention, "q_norm"):  # Qwen3's
        key = attention.k_norm(key)
    key = _rotate(key, rotation)
    value = _split_heads(attention.v_proj(normed), attention)
    if rows is not None:
        normed = TakeRows.apply(normed, rows)
        rotation = rotation[0].index_select(0, rows), rotation[1].index_select(0, rows)
    query = _split_heads(attention.q_proj(normed), attention)
    return _rotate(attention.q_norm(query) if norms else query, rotation), key, value


def _finish(layer: Any, hidden: Tensor, mixed: Tensor) -> Tensor:
    """Return the layer's output: hidden and mixed heads (c, n) -> (c, n)."""
    hidden = hidden + layer.self_attn.o_proj(mixed)
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _split_heads(projected: Tensor, attention: Any) -> Tensor:
    """Split the last dimension: (c, h d) -> (c, h, d)."""
    return projected.unflatten(-1, (-1, attention.head_dim))


def _rotate(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotation
    return heads * cos + rotate_half(heads) * sin
