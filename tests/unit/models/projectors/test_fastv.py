"""FastV against a slow model of it that writes out each sequence's mask, one sequence at a time."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from tests.support.projectors import name_variables
from vlmscale.errors import UserError
from vlmscale.methods import find_method
from vlmscale.models.features import VisionFeatures
from vlmscale.models.layer_pruning import keep_highest
from vlmscale.models.projectors.base import Widths, build_projector
from vlmscale.settings.formulas import evaluate_formula

SIDE, PATCHES, WIDTH, VOCABULARY = 3, 9, 32, 50
LLMS = {"qwen2": (Qwen2Config, Qwen2Model), "llama": (LlamaConfig, LlamaModel)}


def make_llm(kind="qwen2", layers=4, attention="eager"):
    torch.manual_seed(1)
    config, model = LLMS[kind]
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    llm = model(config(**sizes, attn_implementation=attention)).eval()
    for parameter in llm.parameters():  # sharp attention, so that the choice matters
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return llm


def make(tokens, side=SIDE, tower=8, llm=WIDTH, name="fastv", **options):
    torch.manual_seed(0)
    widths = Widths(tower=tower, layers=1, llm=llm, grid_side=side)
    return build_projector(widths, find_method(name).make_setting(tokens, **options))


def prompt(seed, before, after, image=True):
    """Embeddings (t, n) and visual places (t,) of a prompt."""
    visual = PATCHES if image else 0
    generator = torch.Generator().manual_seed(seed)
    places = torch.zeros(before + visual + after, dtype=torch.bool)
    places[before : before + visual] = True
    return torch.randn(len(places), WIDTH, generator=generator), places


PROMPTS = [prompt(1, 2, 3), prompt(2, 4, 7), prompt(3, 5, 6, image=False), prompt(4, 0, 1)]


def batch(prompts, side="left"):
    """inputs_embeds (b, t, n), attention_mask (b, t), places (b, t), padded on one side."""
    longest = max(len(places) for _, places in prompts)
    embeds = torch.full((len(prompts), longest, WIDTH), 0.5)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    all_places = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for i, (rows, places) in enumerate(prompts):
        span = slice(longest - len(rows), None) if side == "left" else slice(len(rows))
        embeds[i, span], mask[i, span], all_places[i, span] = rows, 1, places
    return embeds, mask, all_places


def run(projector, llm, embeds, mask, places, **kwargs):
    with torch.no_grad(), projector.hook_llm(llm, places):
        return llm(inputs_embeds=embeds, attention_mask=mask, **kwargs)


def slow(llm, rows, places, tokens, generated=None):
    """One sequence (t, n) without padding or cache, layer after layer: hidden states (t, n)."""
    embeds = rows if generated is None else torch.cat([rows, generated])
    t, start = len(embeds), min(2, len(llm.layers) - 1)
    causal = torch.full((t, t), torch.finfo(torch.float32).min).triu(1)
    position_embeddings = llm.rotary_emb(embeds[None], torch.arange(t)[None])
    hidden, mask, weights = embeds[None], causal.clone(), torch.empty(0)
    with torch.no_grad():
        for i, layer in enumerate(llm.layers):
            if i == start:
                visual = places.nonzero().flatten().tolist()
                row = weights[0, :, len(rows) - 1].mean(0)
                best = sorted(visual, key=lambda j: (-row[j].item(), j))[:tokens]
                for j in set(visual) - set(best):
                    mask[:, j] = torch.finfo(torch.float32).min
            arguments = {
                "attention_mask": mask[None, None],
                "position_embeddings": position_embeddings,
            }
            _, weights = layer.self_attn(layer.input_layernorm(hidden), **arguments)
            hidden = layer(hidden, **arguments)
        return llm.norm(hidden)[0]


def close(a, b):
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", [1, 4, 8])
@pytest.mark.parametrize(
    ("kind", "layers"), [("qwen2", 2), ("qwen2", 3), ("qwen2", 4), ("llama", 4)]
)
def test_equals_the_slow_model(kind, layers, tokens, side):
    llm = make_llm(kind, layers)
    embeds, mask, places = batch(PROMPTS, side)
    out = run(make(tokens), llm, embeds, mask, places).last_hidden_state
    plain = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    for i, (rows, visual) in enumerate(PROMPTS):
        expected = slow(llm, rows, visual, tokens)
        # What a hidden token itself becomes is read by nobody.
        text = ~visual
        close(out[i, mask[i] == 1][text], expected[text])
        if visual.any():
            assert not torch.allclose(plain[i, mask[i] == 1][-1], expected[-1], atol=1e-3)
        else:
            assert torch.equal(out[i], plain[i])


def test_the_batch_does_not_matter():
    llm, projector = make_llm(), make(3)
    together = run(projector, llm, *batch(PROMPTS)).last_hidden_state[:, -1]
    for i, one in enumerate(PROMPTS):
        close(run(projector, llm, *batch([one])).last_hidden_state[0, -1], together[i])
    swapped = run(projector, llm, *batch(PROMPTS[::-1])).last_hidden_state[:, -1]
    close(swapped.flip(0), together)


def test_all_patches_is_the_plain_model_to_the_bit():
    llm = make_llm()
    embeds, mask, places = batch(PROMPTS)
    with torch.no_grad():
        plain = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    assert torch.equal(run(make(PATCHES), llm, embeds, mask, places).last_hidden_state, plain)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_hidden_tokens_get_no_attention_and_first_layers_are_untouched(kind):
    llm, tokens = make_llm(kind), 4
    embeds, mask, places = batch(PROMPTS)
    hiding = make(tokens, pruning="hide")
    pruned = run(hiding, llm, embeds, mask, places, output_attentions=True).attentions
    plain = llm(inputs_embeds=embeds, attention_mask=mask, output_attentions=True).attentions
    for before, after in zip(plain[:2], pruned[:2], strict=True):
        assert torch.equal(before, after)
    for layer in pruned[2:]:
        reached = layer[:, :, -1].sum(1) > 0  # (b, k) by the last position
        for i, (_, visual) in enumerate(PROMPTS):
            assert (reached[i] & places[i]).sum() == (tokens if visual.any() else 0)
            ignored = places[i] & ~reached[i]
            # A hidden token with nothing before it is the one that has nothing else to look at.
            read = (mask[i] == 1) & ~ignored
            assert layer[i][:, read][..., ignored].sum() == 0
            assert reached[i][(mask[i] == 1) & ~places[i]].all()


def decode(projector, llm, prompts, steps, cache):
    """Greedy generation: embeddings fed (b, steps, n) and last states (b, steps + 1, n)."""
    embeds, mask, places = batch(prompts)
    table = llm.get_input_embeddings().weight
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    out = run(projector, llm, embeds, mask, places, use_cache=cache, position_ids=positions)
    states, fed = [out.last_hidden_state[:, -1]], []
    for _ in range(steps):
        fed.append(table[(states[-1] @ table.T).argmax(-1)].detach())
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        positions = torch.cat([positions, positions[:, -1:] + 1], dim=1)
        if cache:
            out = run(
                projector,
                llm,
                fed[-1][:, None],
                mask,
                None,
                past_key_values=out.past_key_values,
                position_ids=positions[:, -1:],
            )
        else:
            whole = torch.cat([embeds, torch.stack(fed, 1)], dim=1)
            out = run(projector, llm, whole, mask, places, use_cache=False, position_ids=positions)
        states.append(out.last_hidden_state[:, -1])
    return torch.stack(fed, 1), torch.stack(states, 1)


@pytest.mark.parametrize(("kind", "layers"), [("qwen2", 2), ("qwen2", 4), ("llama", 3)])
def test_generation_with_and_without_cache_agree(kind, layers):
    llm, projector, tokens = make_llm(kind, layers), make(3), 3
    fed, cached = decode(projector, llm, PROMPTS, 5, cache=True)
    again, uncached = decode(projector, llm, PROMPTS, 5, cache=False)
    assert torch.equal(fed, again)
    close(cached, uncached)
    for i, (rows, visual) in enumerate(PROMPTS):
        close(cached[i, -1], slow(llm, rows, visual, tokens, fed[i])[-1])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", [1, 4, 8])
@pytest.mark.parametrize(("kind", "layers"), [("qwen2", 2), ("qwen2", 4), ("llama", 3)])
def test_removing_gives_what_hiding_gives(kind, layers, tokens, side):
    """Every text position of a batch, and every step of its answers, with a cache and without."""
    llm = make_llm(kind, layers)
    embeds, mask, places = batch(PROMPTS, side)
    removed, hidden = (make(tokens, pruning=how) for how in ("remove", "hide"))
    states = [run(p, llm, embeds, mask, places).last_hidden_state for p in (removed, hidden)]
    text = (mask == 1) & ~places
    close(states[0][text], states[1][text])
    if side == "left":
        for cache in (True, False):
            answers = [decode(p, llm, PROMPTS, 6, cache) for p in (removed, hidden)]
            assert torch.equal(answers[0][0], answers[1][0])
            close(answers[0][1], answers[1][1])


def test_later_layers_keep_and_compute_only_what_is_left():
    """Keys and values of what was removed are absent, and its FLOPs with them."""
    llm, prompts = make_llm(layers=4), PROMPTS[:2]
    embeds, mask, places = batch(prompts)
    lengths, flops = {}, {}
    for how in ("remove", "hide"):
        with FlopCounterMode(display=False) as counter:
            out = run(make(3, pruning=how), llm, embeds, mask, places, use_cache=True)
        cache = out.past_key_values
        lengths[how] = [layer.keys.shape[2] for layer in cache.layers]
        flops[how] = counter.get_total_flops()
    s = embeds.shape[1]
    assert lengths == {"remove": [s, s, s - 6, s - 6], "hide": [s] * 4}
    per_token = 2 * (2 * WIDTH * (WIDTH + WIDTH // 2) + 3 * WIDTH * 48)
    products = 4 * WIDTH * (s**2 - (s - 6) ** 2)
    assert flops["hide"] - flops["remove"] == 2 * 2 * (6 * per_token + products)


def test_a_cache_of_fixed_length_hides():
    from transformers import StaticCache

    llm, (one, _) = make_llm(), PROMPTS[:2]
    embeds, mask, places = batch([one])
    projector = make(3)
    cache = StaticCache(config=llm.config, max_cache_len=20)
    static = run(projector, llm, embeds, mask, places, past_key_values=cache)
    close(static.last_hidden_state[0, -1], run(projector, llm, embeds, mask, places)[0][0, -1])
    assert list(projector.pruning.cuts) == [cache]
    assert projector.pruning.cuts[cache][0].kept is None


def test_generations_do_not_reach_into_each_other():
    llm, projector = make_llm(), make(3)
    images, texts = PROMPTS[:2], [prompt(8, 20, 9, image=False), prompt(9, 25, 7, image=False)]
    embeds, mask, places = batch(images)
    first = run(projector, llm, embeds, mask, places, use_cache=True).past_key_values
    embeds_b, mask_b, _ = batch(texts)
    with torch.no_grad():
        plain = llm(inputs_embeds=embeds_b, attention_mask=mask_b).last_hidden_state
    # A longer text-only prefill of as many sequences, between two steps of a generation.
    between = run(projector, llm, embeds_b, mask_b, None, use_cache=True)
    assert torch.equal(between.last_hidden_state, plain)
    step, mask = embeds_b[:, :1], torch.cat([mask, mask[:, -1:]], dim=1)
    late = run(projector, llm, step, mask, None, past_key_values=first).last_hidden_state
    fresh = make(3)
    cache = run(fresh, llm, embeds, mask[:, :-1], places, use_cache=True).past_key_values
    assert torch.equal(
        late, run(fresh, llm, step, mask, None, past_key_values=cache).last_hidden_state
    )
    del first, cache, between
    assert not projector.pruning.cuts  # nothing outlives its generation


def test_gradients_reach_the_image_and_the_hooks_are_gone():
    llm, projector = make_llm(), make(4)
    embeds, mask, places = batch(PROMPTS[:2])
    patches = torch.randn(2, PATCHES, 8, generator=torch.Generator().manual_seed(5))
    visual = projector(VisionFeatures(patches, SIDE))
    embeds = embeds.masked_scatter(places[..., None], visual)
    with projector.hook_llm(llm, places):
        out = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    out[:, -1].square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in projector.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llm.modules())


@pytest.mark.parametrize("pruning", ["hide", "remove"])
def test_bfloat16(pruning):
    llm, projector = make_llm().bfloat16(), make(4, pruning=pruning).bfloat16()
    embeds, mask, places = batch(PROMPTS)
    out = run(projector, llm, embeds.bfloat16(), mask, places, output_attentions=True)
    assert torch.isfinite(out.last_hidden_state).all()
    if pruning == "hide":
        reached = out.attentions[-1][:, :, -1].sum(1) > 0
        assert (reached & places).sum(1).max() <= 4


def test_equal_scores_go_to_the_earlier_patch():
    places = torch.zeros(1, 12, dtype=torch.bool)
    places[0, 2:11] = True
    kept = keep_highest(torch.full((1, 12), 1 / 12), places, 3)
    assert kept[0].nonzero().flatten().tolist() == [2, 3, 4]


def test_an_unfit_llm_is_refused():
    embeds, mask, places = batch(PROMPTS[:1])
    with pytest.raises(UserError, match="fastv: the LLM has 1 layer"):
        run(make(4), make_llm(layers=1), embeds, mask, places)
    with pytest.raises(ValueError, match="eager"):
        run(make(4), make_llm(attention="sdpa"), embeds, mask, places)


@pytest.mark.parametrize("side", [6, 12, 24])
def test_declared_costs_are_the_module_s(side):
    declared = find_method("fastv")
    assert declared.list_counts(side) == list(range(1, side * side + 1))
    for tokens in (1, side, side * side):
        projector = make(tokens, side, tower=16, llm=24)
        names = name_variables("fastv", tokens, Widths(16, 1, 24, side))
        assert sum(p.numel() for p in projector.parameters()) == evaluate_formula(
            declared.weights, names
        )
        with FlopCounterMode(display=False) as counter:
            out = projector(VisionFeatures(torch.randn(1, side * side, 16), side))
        assert out.shape == (1, projector.placeholders, 24) == (1, side * side, 24)
        assert counter.get_total_flops() == 2 * evaluate_formula(declared.multiply_adds, names)


@pytest.mark.parametrize(("layers", "expected"), [(2, (36 + 4) / 2), (24, (2 * 36 + 22 * 4) / 24)])
def test_declared_positions_average_the_layers(layers, expected):
    names = name_variables("fastv", 4, Widths(16, 1, 24, 6)) | {"m": layers}
    assert evaluate_formula(find_method("fastv").positions, names) == pytest.approx(expected)


def test_a_plain_projector_s_weights_serve_it():
    plain, pruned = make(PATCHES, name="mlp"), make(4)
    pruned.load_state_dict(plain.state_dict())
    features = VisionFeatures(torch.randn(2, PATCHES, 8), SIDE)
    assert torch.equal(plain(features), pruned(features))
