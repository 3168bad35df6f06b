"""Methods that prune between layers of the LLM: what leaves is gone, and gone the same way everywhere."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import StaticCache

from tests.support.projectors import name_variables
from tests.unit.models.projectors.test_fastv import (
    PATCHES,
    PROMPTS,
    WIDTH,
    batch,
    close,
    decode,
    make,
    make_llm,
    run,
)
from vlmscale.costs.flops import answer_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.methods import find_method, list_method_names
from vlmscale.models.projectors import pyramiddrop, sparsevlm
from vlmscale.models.projectors.base import Widths
from vlmscale.settings.formulas import evaluate_formula

# Of Vicuna-7B: by V, from which layer on how many visual tokens are left.
STAGES = {
    "fastv": lambda v: [(2, v)],
    "dart": lambda v: [(2, v)],
    "pyramiddrop": lambda v: pyramiddrop.find_stages(576, v, 32),
    "sparsevlm": lambda v: sparsevlm.find_stages(576, v, 32),
}
NAMES = [name for name in list_method_names() if "pruning" in find_method(name).options]
LLMS = [("qwen2", 2), ("qwen2", 5), ("llama", 4), ("llama", 8)]


def test_every_method_inside_the_llm_is_here():
    assert set(STAGES) == set(NAMES)
    assert {find_method(name).kept for name in NAMES} == {"p"}  # a next question chooses anew


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", [1, 4, 8])
@pytest.mark.parametrize(("kind", "layers"), LLMS)
@pytest.mark.parametrize("name", NAMES)
def test_removing_gives_what_hiding_gives(name, kind, layers, tokens, side):
    """Every text position of a batch, and every step of its answers, with a cache and without."""
    llm = make_llm(kind, layers)
    embeds, mask, places = batch(PROMPTS, side)
    text = (mask == 1) & ~places
    removed, hidden = (make(tokens, name=name, pruning=how) for how in ("remove", "hide"))
    states = [run(p, llm, embeds, mask, places).last_hidden_state for p in (removed, hidden)]
    close(states[0][text], states[1][text])
    if side == "left":
        answers = [
            decode(p, llm, PROMPTS, 6, cache) for p in (removed, hidden) for cache in (True, False)
        ]
        for fed, answer in answers[1:]:
            assert torch.equal(fed, answers[0][0])
            close(answer, answers[0][1])


@pytest.mark.parametrize(("kind", "layers"), LLMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_sequences(name, kind, layers):
    llm, projector = make_llm(kind, layers), make(3, name=name)
    together = run(projector, llm, *batch(PROMPTS)).last_hidden_state[:, -1]
    right = batch(PROMPTS, "right")
    for i, one in enumerate(PROMPTS):
        alone = run(projector, llm, *batch([one])).last_hidden_state[0, -1]
        close(alone, together[i])
        padded = run(projector, llm, *right).last_hidden_state[i, len(one[1]) - 1]
        close(alone, padded)
    with torch.no_grad():
        embeds, mask, _ = batch(PROMPTS)
        plain = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[:, -1]
    for i, (_, places) in enumerate(PROMPTS):
        assert torch.allclose(plain[i], together[i], atol=1e-3) == (not places.any())


@pytest.mark.parametrize("name", NAMES)
def test_all_patches_is_the_plain_model_to_the_bit(name):
    llm = make_llm(layers=8)
    embeds, mask, places = batch(PROMPTS)
    with torch.no_grad():
        plain = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    projector = make(PATCHES, name=name)
    assert torch.equal(run(projector, llm, embeds, mask, places).last_hidden_state, plain)


@pytest.mark.parametrize("tokens", [1, 3, 8, 9])
@pytest.mark.parametrize("layers", [2, 3, 4, 6, 8, 13])
@pytest.mark.parametrize("name", NAMES)
def test_the_cache_holds_the_declared_positions(name, layers, tokens):
    llm, projector = make_llm(layers=layers), make(tokens, name=name)
    embeds, mask, places = batch(PROMPTS[:2])
    out = run(projector, llm, embeds, mask, places, use_cache=True)
    text = embeds.shape[1] - PATCHES
    positions = [layer.keys.shape[2] - text for layer in out.past_key_values.layers]
    assert positions == sorted(positions, reverse=True)
    assert positions[0] == PATCHES
    assert positions[-1] == tokens
    names = name_variables(name, tokens, Widths(8, 1, WIDTH, 3)) | {"m": layers}
    declared = evaluate_formula(find_method(name).positions, names)
    assert declared == pytest.approx(sum(positions) / layers)


@pytest.mark.parametrize("name", NAMES)
def test_declared_positions_cost_what_torch_counts(name):
    """All products of the LLM's weights, those of the scores among them, within 2 %."""
    layers, side, tokens, text = 24, 6, 5, 8
    llm, projector = make_llm(layers=layers), make(tokens, side, name=name)
    places = torch.ones(1, side * side + text, dtype=torch.bool)
    places[:, :2] = places[:, -6:] = False
    embeds = torch.randn(1, places.shape[1], WIDTH, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        run(projector, llm, embeds, torch.ones_like(places, dtype=torch.long), places)
    counted = counter.get_flop_counts()["Global"]
    linear = sum(flops for op, flops in counted.items() if "bmm" not in str(op))
    names = name_variables(name, tokens, Widths(8, 1, WIDTH, side)) | {"m": layers}
    positions = evaluate_formula(find_method(name).positions, names) + text
    weights = 2 * WIDTH * (WIDTH + WIDTH // 2) + 3 * WIDTH * 48
    assert linear == pytest.approx(2 * layers * positions * weights, rel=0.02)


@pytest.mark.parametrize("tokens", [1, 36, 192, 576])
@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_positions_prices_a_real_llm(name, tokens):
    """Attention is quadratic, so layers of unequal length cost more than their mean: by 2 % at most."""
    shapes = load_shapes()
    decoder = find_shape(shapes, "Vicuna-7B", Decoder)
    tower = find_shape(shapes, "CLIP-ViT-L/14-336", Tower)
    starts = {0: 576, **dict(STAGES[name](tokens))}
    ends = [*list(starts)[1:], decoder.layers]
    by_layer = sum(
        (end - start) / decoder.layers * decoder.forward(count + 50, cached=0, scored=0).total
        for (start, count), end in zip(starts.items(), ends, strict=True)
    )
    priced = answer_gflops(decoder, tower, name, tokens, 50).prefill
    assert priced.total - priced.head == pytest.approx(by_layer, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_of_fixed_length_hides(name):
    llm, one = make_llm(layers=8), PROMPTS[0]
    embeds, mask, places = batch([one])
    projector = make(3, name=name)
    cache = StaticCache(config=llm.config, max_cache_len=20)
    static = run(projector, llm, embeds, mask, places, past_key_values=cache)
    close(static.last_hidden_state[0, -1], run(projector, llm, embeds, mask, places)[0][0, -1])
    (cuts,) = projector.pruning.cuts.values()
    assert [cut.kept for cut in cuts] == [None] * len(cuts)
    del cache, static
    assert not projector.pruning.cuts  # nothing outlives its generation


@pytest.mark.parametrize("pruning", ["hide", "remove"])
@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_and_gradients(name, pruning):
    llm, projector = make_llm(layers=8).bfloat16(), make(4, name=name, pruning=pruning).bfloat16()
    embeds, mask, places = batch(PROMPTS)
    embeds = embeds.bfloat16().requires_grad_()
    with projector.hook_llm(llm, places):
        out = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    assert torch.isfinite(out).all()
    out[:, -1].square().sum().backward()
    assert torch.isfinite(embeds.grad).all()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llm.modules())
