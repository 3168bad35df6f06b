"""The training pass gives the losses and gradients of transformers' own, with less computed."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, LlamaConfig, Qwen2Config, Qwen2ForCausalLM, Qwen3Config

from tests.support.samples import conversations, model_inputs
from vlmscale.methods import find_method
from vlmscale.models import supervised_forward
from vlmscale.models.conversation import IGNORED
from vlmscale.models.supervised_forward import compute_supervised_states, shift_labels
from vlmscale.training.backbones import TextLlm
from vlmscale.training.data import Collate

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}
LLMS = {
    "qwen2": Qwen2Config(**SHAPE, num_hidden_layers=3, num_key_value_heads=4),
    "one layer": Qwen2Config(**SHAPE, num_hidden_layers=1, num_key_value_heads=4),
    "llama": LlamaConfig(**SHAPE, num_hidden_layers=2, num_key_value_heads=4),
    "shared keys": LlamaConfig(**SHAPE, num_hidden_layers=2, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SHAPE, num_hidden_layers=2, num_key_value_heads=2, head_dim=8),
    # A decoder that is left to transformers.
    "window": Qwen2Config(
        **SHAPE,
        num_hidden_layers=2,
        num_key_value_heads=4,
        use_sliding_window=True,
        sliding_window=3,
        max_window_layers=1,
    ),
}
LENGTHS = (9, 5, 7, 9)
# Positions with something to learn: at an end, none, the first, with gaps.
SUPERVISED = {0: (6, 7, 8), 2: (0, 1), 3: (2, 5)}


@pytest.fixture(autouse=True, params=["padded", "packed"])
def packing(request, monkeypatch):
    """Run every test with both; the CPU chooses padded attention by itself."""
    monkeypatch.setattr(supervised_forward, "_choose_packing", lambda layer, hidden: request.param)
    return request.param


def llm_of(kind):
    torch.manual_seed(0)
    return AutoModel.from_config(LLMS[kind]).train()


def padded(mask):
    """Sequences of LENGTHS, what is supervised of them, their mask, (b, t) or (b, 1, t, t), and positions."""
    generator = torch.Generator().manual_seed(1)
    embeds = torch.randn(len(LENGTHS), max(LENGTHS), 24, generator=generator)
    which = torch.zeros(embeds.shape[:2], dtype=torch.bool)
    for row, positions in SUPERVISED.items():
        which[row, list(positions)] = True
    real = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    if mask == "gaps":  # as of visual tokens that an image does not have
        real[0, 2:4] = False
        real[3, 0] = False
    if mask == "hidden":  # and supervised from all the same
        real[0, 7] = False
    if mask == "apart":
        own = torch.arange(max(LENGTHS)) // 3
        before = torch.ones(max(LENGTHS), max(LENGTHS), dtype=torch.bool).tril()
        seen = before & ((own == own[:, None]) | (own == 0))
        places = torch.arange(max(LENGTHS)) - 3 * (own - 1).clamp(min=0)
        return embeds, which, seen.expand(len(LENGTHS), 1, -1, -1), places.expand_as(which)
    if mask == "through":  # what is supervised sees the first tokens only through the third
        places = torch.arange(max(LENGTHS))
        seen = torch.ones(max(LENGTHS), max(LENGTHS), dtype=torch.bool).tril()
        seen &= (places >= 2) | (places[:, None] < 3)
        return embeds, which, seen.expand(len(LENGTHS), 1, -1, -1), places.expand_as(which)
    return embeds, which, real.long(), None


def gradients(llm, embeds, states):
    """Of a loss that weighs every supervised state and dimension differently."""
    llm.zero_grad()
    embeds.grad = None
    weights = torch.linspace(-1, 1, states.numel()).view_as(states)
    (states * weights).sum().backward()
    return [embeds.grad, *(p.grad for p in llm.parameters() if p.grad is not None)]


@pytest.mark.parametrize("mask", ["padded", "gaps", "hidden", "apart", "through"])
@pytest.mark.parametrize("kind", LLMS)
def test_states_and_gradients_are_those_of_the_whole_pass(kind, mask):
    llm = llm_of(kind)
    embeds, which, seen, positions = padded(mask)
    embeds.requires_grad_()
    whole = llm(inputs_embeds=embeds, attention_mask=seen, position_ids=positions)
    expected = whole.last_hidden_state[which]
    wanted = gradients(llm, embeds, expected)
    states = compute_supervised_states(llm, embeds, which, seen, positions)
    assert states.shape == (which.sum(), 24)
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    found = gradients(llm, embeds, states)
    assert len(found) == len(wanted) > 10
    for mine, theirs in zip(found, wanted, strict=True):
        atol = 1e-5 * max(1, theirs.abs().max().item())  # sums in another order
        torch.testing.assert_close(mine, theirs, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("mask", ["padded", "apart"])
@pytest.mark.parametrize("again", [False, True])
def test_nothing_to_learn_gives_gradients_of_zero(mask, again):
    """As a part of a batch has it when only other parts have answers: no process waits for another's."""
    llm = llm_of("qwen2")
    if again:
        llm.activation_checkpointing_enable({"use_reentrant": False})
    embeds, which, seen, positions = padded(mask)
    embeds.requires_grad_()
    states = compute_supervised_states(llm, embeds, torch.zeros_like(which), seen, positions)
    assert states.shape == (0, 24)
    (states.sum() * 2).backward()
    learns = [embeds, *(p for name, p in llm.named_parameters() if name != "embed_tokens.weight")]
    assert len(learns) > 30
    for each in learns:
        assert each.grad is not None
        assert not each.grad.any()


@pytest.mark.parametrize("mask", ["padded", "apart"])
def test_sixteen_bits_are_those_of_the_whole_pass(mask):
    """Within what they can tell, and no farther from 32 bits than transformers' own pass."""
    llm = llm_of("qwen2")
    embeds, which, seen, positions = padded(mask)
    exact = compute_supervised_states(llm, embeds, which, seen, positions)
    with torch.autocast("cpu", torch.bfloat16):
        states = compute_supervised_states(llm, embeds, which, seen, positions)
        whole = llm(inputs_embeds=embeds, attention_mask=seen, position_ids=positions)
    expected = whole.last_hidden_state[which]
    assert states.dtype == expected.dtype
    mine, theirs = ((found - exact).abs().mean() for found in (states, expected))
    assert 0 < mine < 1.5 * theirs


def test_activations_computed_again_change_nothing():
    llm = llm_of("llama")
    embeds, which, seen, _ = padded("gaps")
    embeds.requires_grad_()
    kept = gradients(llm, embeds, compute_supervised_states(llm, embeds, which, seen))
    kept = [grad.clone() for grad in kept]
    llm.activation_checkpointing_enable({"use_reentrant": False})
    calls = []
    for layer in llm.layers:
        layer.mlp.register_forward_pre_hook(lambda module, *_: calls.append(module))
    again = gradients(llm, embeds, compute_supervised_states(llm, embeds, which, seen))
    assert len(calls) == 4, "each of two layers, forwards and again"
    for mine, theirs in zip(again, kept, strict=True):
        assert torch.equal(mine, theirs)


# Up to the last supervised position of each sequence; of those, without what nobody may see; and of turns apart,
# of three tokens each, the first one and the supervised one's own.
@pytest.mark.parametrize(
    ("mask", "needed"),
    [("padded", 9 + 2 + 6), ("gaps", 7 + 2 + 5), ("apart", 6 + 2 + 6), ("through", 9 + 2 + 6)],
)
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_no_layer_computes_what_is_not_needed(kind, mask, needed):
    llm = llm_of(kind)
    embeds, which, seen, positions = padded(mask)
    rows = []
    for layer in llm.layers:
        layer.mlp.register_forward_hook(lambda module, args, out: rows.append(args[0].shape[0]))
    compute_supervised_states(llm, embeds, which, seen, positions)
    assert rows == [needed] * (len(rows) - 1) + [int(which.sum())]


def inputs_of(data, processor):
    """Six samples as a model takes them."""
    collate = Collate(processor.tokenizer, processor.reads_question, "pixel_values")
    return model_inputs(collate([data[i] for i in range(6)], np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("name", "options", "apart"),
    [
        ("fastv", {}, False),
        ("mlp", {}, True),
        ("mlp", {}, False),
        ("quecc", {}, True),
        ("blind", {}, False),
        ("prumerge", {"count": "adaptive"}, False),
        ("voco", {}, False),
        ("llava_mini", {}, False),
        ("llava_mini", {}, True),
        ("voco", {"hide": "before"}, True),
    ],
)
def test_a_model_learns_as_if_all_were_scored(build, splits, name, options, apart):
    model, processor = build(name, find_method(name).list_counts(6)[-1], **options)
    batch = inputs_of(conversations(splits["stage2"], processor, apart=apart), processor)
    count, found = int((batch["labels"][:, 1:] != IGNORED).sum()), []
    assert count < batch["labels"].numel() / 2
    for training, rows in ((False, batch["labels"].numel()), (True, count)):
        model.train(training).zero_grad()
        out = model(**batch, num_items_in_batch=torch.tensor(count))
        assert out.logits.flatten(0, -2).shape == (rows, len(processor.tokenizer))
        out.loss.backward()
        found.append([out.loss, *(p.grad for p in model.parameters() if p.grad is not None)])
    model.eval()
    assert len(found[0]) == len(found[1]) > 20
    for whole, picked in zip(*found, strict=True):
        torch.testing.assert_close(picked, whole, atol=1e-6, rtol=1e-4)


def test_an_llm_of_text_learns_as_transformers_own(build, splits, backbones):
    _, processor = build("blind", 1)
    llm = Qwen2ForCausalLM.from_pretrained(backbones["llm"])
    batch = inputs_of(conversations(splits["corpus"], processor), processor)
    found = []
    for model in (llm, TextLlm(llm)):
        llm.zero_grad()
        loss = model(**batch)["loss"]
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in llm.parameters())])
    for whole, picked in zip(*found, strict=True):
        torch.testing.assert_close(picked, whole, atol=1e-6, rtol=1e-4)


def test_what_stands_behind_a_label_is_predicted():
    labels = torch.tensor([[IGNORED, 5, 6], [7, IGNORED, 8]])
    assert shift_labels(labels).tolist() == [[5, 6, IGNORED], [IGNORED, 8, IGNORED]]
