"""The training pass over supervised positions gives transformers' own states and gradients."""

import pytest
import torch
from transformers import AutoModel, LlamaConfig, Qwen2Config

from vlmscale.models.packed_attention import PackedAttention
from vlmscale.models.supervised_forward import compute_supervised_states

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
LLMS = {
    "qwen2": Qwen2Config(**SHAPE, num_key_value_heads=4),
    "llama, shared keys": LlamaConfig(**SHAPE, num_key_value_heads=2),
}
LENGTHS = (40, 17, 29, 33)


def make_inputs(mask, device):
    """Embeddings of padded sequences, supervised positions, attention mask and position ids."""
    b, t = len(LENGTHS), max(LENGTHS)
    generator = torch.Generator().manual_seed(1)
    embeds = torch.randn(b, t, SHAPE["hidden_size"], generator=generator).to(device)
    place = torch.arange(t, device=device)
    real = place < torch.tensor(LENGTHS, device=device)[:, None]
    supervised = real & (place % 5 == 4) & (place > 9)
    supervised[1] = False
    if mask == "gaps":
        real = real & (place != 3)
    if mask != "apart":
        return embeds, supervised, real.long(), None
    turn = place // 8
    before = torch.ones(t, t, dtype=torch.bool, device=device).tril()
    attended = before & ((turn == turn[:, None]) | (turn == 0))
    position_ids = (place - 8 * (turn - 1).clamp(min=0)).expand(b, t)
    return embeds, supervised, attended.expand(b, 1, t, t), position_ids


def run_backward(llm, embeds, states):
    """Return the gradients of a loss that weighs every state and dimension differently."""
    llm.zero_grad()
    embeds.grad = None
    weights = torch.linspace(-1, 1, states.numel(), device=states.device).view_as(states)
    (states * weights).sum().backward()
    return [embeds.grad, *(p.grad for p in llm.parameters() if p.grad is not None)]


@pytest.mark.parametrize("packing", ["padded", "packed"])
@pytest.mark.parametrize("mask", ["padded", "gaps", "apart"])
@pytest.mark.parametrize("kind", LLMS)
def test_states_and_gradients_are_those_of_transformers(device, kind, mask, packing):
    if device.type == "cuda" and packing == "packed":
        pytest.skip("its kernel takes 16 bits, which a test below compares")
    torch.manual_seed(0)
    llm = AutoModel.from_config(LLMS[kind], attn_implementation="sdpa").train().to(device)
    embeds, supervised, attention_mask, position_ids = make_inputs(mask, device)
    embeds.requires_grad_()
    whole = llm(inputs_embeds=embeds, attention_mask=attention_mask, position_ids=position_ids)
    expected = whole.last_hidden_state[supervised]
    wanted = run_backward(llm, embeds, expected)
    states = compute_supervised_states(
        llm, embeds, supervised, attention_mask, position_ids, packing=packing
    )
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)
    found = run_backward(llm, embeds, states)
    assert len(found) == len(wanted) > 20
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4 * theirs.abs().max().item(), rtol=1e-3)


@pytest.mark.parametrize("packing", ["padded", "packed"])
@pytest.mark.parametrize("mask", ["padded", "gaps", "apart"])
@pytest.mark.parametrize("kind", LLMS)
def test_bf16_is_no_farther_from_fp32_than_transformers(device, kind, mask, packing):
    """In states and gradients. On GPUs from compute capability 8, packed attention is torch's own kernel."""
    if (
        device.type == "cuda"
        and packing == "packed"
        and torch.cuda.get_device_capability() < (8, 0)
    ):
        pytest.skip("torch's kernel needs compute capability 8")
    torch.manual_seed(0)
    llm = AutoModel.from_config(LLMS[kind], attn_implementation="sdpa").train().to(device)
    embeds, supervised, attention_mask, position_ids = make_inputs(mask, device)
    embeds.requires_grad_()
    inputs = (attention_mask, position_ids)
    exact = compute_supervised_states(llm, embeds, supervised, *inputs, packing="padded")
    exact = [exact, *map(torch.clone, run_backward(llm, embeds, exact))]
    with torch.autocast(device.type, torch.bfloat16):
        states = compute_supervised_states(llm, embeds, supervised, *inputs, packing=packing)
    mine = [states, *map(torch.clone, run_backward(llm, embeds, states))]
    with torch.autocast(device.type, torch.bfloat16):
        whole = llm(inputs_embeds=embeds, attention_mask=attention_mask, position_ids=position_ids)
    expected = whole.last_hidden_state[supervised]
    theirs = [expected, *run_backward(llm, embeds, expected)]
    distances = [
        sum(
            (each - true).abs().mean() / true.abs().mean()
            for each, true in zip(found, exact, strict=True)
        )
        for found in (mine, theirs)
    ]
    assert 0 < distances[0] < 1.5 * distances[1]


def test_a_gpu_packs_in_16_bits_by_itself(device, monkeypatch):
    """And the CPU pads."""
    torch.manual_seed(0)
    llm = AutoModel.from_config(LLMS["qwen2"], attn_implementation="sdpa").to(device)
    embeds, supervised, *inputs = make_inputs("padded", device)
    packed = []
    monkeypatch.setattr(
        PackedAttention, "__call__", lambda self, query, *_, **__: packed.append(self) or query
    )
    for enabled in (False, True):
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            compute_supervised_states(llm, embeds, supervised, *inputs)
    capable = device.type == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
    assert len(packed) == (SHAPE["num_hidden_layers"] if capable else 0)
