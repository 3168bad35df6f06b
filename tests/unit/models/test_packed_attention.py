"""Attention without padding equals attention with a mask, and is chosen where torch has a kernel for it."""

import inspect

import pytest
import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

from tests.unit.models.test_supervised_forward import LLMS, gradients, llm_of, padded
from vlmscale.models import packed_attention
from vlmscale.models.packed_attention import PackedAttention, choose_packing
from vlmscale.models.supervised_forward import compute_supervised_states

LENGTHS = (7, 4, 9)
HEADS, SHARED, WIDTH = 4, 2, 8


def draw_masks():
    """Which slot attends to which, (3, 9, 9): plain turns, turns apart, and tokens that the second one skips."""
    slot = torch.arange(max(LENGTHS))
    causal = slot <= slot[:, None]
    turn = slot // 3
    apart = causal & ((turn == turn[:, None]) | (turn == 0))
    skipping = causal & ((slot != 1) | (slot[:, None] == 1))
    return torch.stack([causal, skipping, apart])


def pack(masks):
    lengths = torch.tensor(LENGTHS)
    sequence = torch.repeat_interleave(torch.arange(len(LENGTHS)), lengths)
    slot = torch.cat([torch.arange(length) for length in LENGTHS])
    return PackedAttention.of_mask(masks, lengths, sequence, slot), sequence, slot


def draw_heads():
    generator = torch.Generator().manual_seed(0)
    heads = (HEADS, SHARED, SHARED)
    made = (torch.randn(sum(LENGTHS), n, WIDTH, generator=generator) for n in heads)
    return [each.requires_grad_() for each in made]


def attend_by_mask(query, key, value, masks, sequence, slot):
    """The same by one dense mask over all tokens."""
    allowed = masks[sequence, slot][:, slot] & (sequence == sequence[:, None])
    key, value = (each.repeat_interleave(HEADS // SHARED, dim=1) for each in (key, value))
    heads = (each.transpose(0, 1) for each in (query, key, value))
    return scaled_dot_product_attention(*heads, attn_mask=allowed, scale=0.3).transpose(0, 1)


def test_runs_give_what_a_mask_gives():
    masks = draw_masks()
    packed, *places = pack(masks)
    inputs = draw_heads()
    expected = attend_by_mask(*inputs, masks, *places)
    found = packed(*inputs, scale=0.3, dropout=0.0)
    torch.testing.assert_close(found, expected)
    weights = torch.linspace(-1, 1, found.numel()).view_as(found)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_run_ends_where_a_token_sees_less_or_more():
    packed, *_ = pack(draw_masks())
    # One run for the first sequence; what skips slot 1 begins another; so does the last turn, not the second.
    assert packed.ends.tolist() == [0, 7, 9, 11, 17, 20]
    assert packed.key_ends.diff().tolist() == [7, 2, 3, 6, 6]
    assert (packed.most_queries, packed.most_keys) == (7, 7)


def test_all_that_came_before_needs_no_copy_of_keys():
    packed = PackedAttention.of_sequences(torch.tensor(LENGTHS), max(LENGTHS))
    assert packed.keys is None
    assert packed.ends.tolist() == packed.key_ends.tolist() == [0, 7, 11, 20]


@pytest.mark.parametrize("mask", ["padded", "gaps", "hidden", "apart"])
@pytest.mark.parametrize("kind", LLMS)
def test_packed_states_and_gradients_are_those_of_padded_ones(kind, mask):
    llm = llm_of(kind)
    embeds, which, seen, positions = padded(mask)
    embeds.requires_grad_()
    found = []
    for packing in ("padded", "packed"):
        states = compute_supervised_states(llm, embeds, which, seen, positions, packing=packing)
        found.append([states, *(g.clone() for g in gradients(llm, embeds, states))])
    assert len(found[0]) == len(found[1]) > 10
    for dense, packed in zip(*found, strict=True):
        atol = 1e-5 * max(1, dense.abs().max().item())
        torch.testing.assert_close(packed, dense, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("packed", [False, True])
def test_the_kernel_is_called_as_torch_declares_it(monkeypatch, packed):
    """No CPU has the kernel. Its signature, and its shapes and types on the meta device, are checked here."""
    calls = []

    def call(*args, **kwargs):
        calls.append(inspect.signature(varlen_attn).bind(*args, **kwargs).arguments)
        return varlen_attn(*args, **kwargs)

    monkeypatch.setattr(packed_attention, "varlen_attn", call)
    runs = PackedAttention.of_sequences(torch.tensor(LENGTHS), max(LENGTHS))
    if packed:
        runs, *_ = pack(draw_masks())
    move = {name: v.to("meta") for name, v in vars(runs).items() if torch.is_tensor(v)}
    heads = [each.detach().to("meta", torch.bfloat16).requires_grad_() for each in draw_heads()]
    out = PackedAttention(**{**vars(runs), **move})(*heads, scale=0.3, dropout=0.0)
    assert out.shape == heads[0].shape
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert [each.grad.shape for each in heads] == [each.shape for each in heads]
    (asked,) = calls
    assert (asked["max_q"], asked["max_k"]) == (runs.most_queries, runs.most_keys)
    assert asked["window_size"] == (-1, 0), "causal, aligned with the last key"
    assert asked["enable_gqa"]
    assert asked["cu_seq_q"].dtype == asked["cu_seq_k"].dtype == torch.int32


class OnCuda:
    """A tensor's type and place, as far as the choice reads them."""

    def __init__(self, dtype):
        self.dtype, self.device = dtype, torch.device("cuda")


@pytest.mark.parametrize(
    ("dtype", "width", "dropout", "kernel", "chosen"),
    [
        (torch.bfloat16, 128, 0.0, True, "packed"),
        (torch.float32, 128, 0.0, True, "padded"),
        (torch.bfloat16, 128, 0.1, True, "padded"),
        (torch.bfloat16, 20, 0.0, True, "padded"),
        (torch.bfloat16, 512, 0.0, True, "padded"),
        (torch.bfloat16, 128, 0.0, False, "padded"),
    ],
)
def test_packed_attention_is_chosen_where_the_kernel_is(
    monkeypatch, dtype, width, dropout, kernel, chosen
):
    monkeypatch.setattr(packed_attention, "_has_kernel", lambda device: kernel)
    assert choose_packing(OnCuda(dtype), head_width=width, dropout=dropout) == chosen


def test_the_cpu_pads():
    hidden = torch.zeros(2, 8, dtype=torch.bfloat16)
    assert choose_packing(hidden, head_width=8, dropout=0.0) == "padded"


def test_dropout_is_refused():
    packed, *_ = pack(draw_masks())
    with pytest.raises(ValueError, match="no dropout"):
        packed(*draw_heads(), scale=1.0, dropout=0.1)
