"""PyramidDrop against a slow model that shortens one sequence, stage after stage."""

import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

from tests.unit.models.projectors.test_fastv import (
    PATCHES,
    PROMPTS,
    batch,
    close,
    decode,
    make,
    make_llm,
    run,
)
from vlmscale.methods import find_method
from vlmscale.models.projectors.pyramiddrop import find_stages
from vlmscale.settings.formulas import evaluate_formula


def slow(llm, rows, places, tokens, generated=None):
    """One sequence (t, n), really shortened at each stage, positions from 0: states of what is left."""
    hidden = rows if generated is None else torch.cat([rows, generated])
    behind, visual = len(hidden) - len(rows), places.nonzero().flatten().tolist()
    stages = dict(find_stages(PATCHES, tokens, len(llm.layers)))
    with torch.no_grad():
        for i, layer in enumerate(llm.layers):
            rotation = llm.rotary_emb(hidden[None], torch.arange(len(hidden))[None])
            if i in stages and visual:
                attention, normed = layer.self_attn, layer.input_layernorm(hidden[None])
                query, key = (
                    projection(normed).view(1, len(hidden), -1, attention.head_dim).transpose(1, 2)
                    for projection in (attention.q_proj, attention.k_proj)
                )
                query, key = apply_rotary_pos_emb(query, key, *rotation)
                key = repeat_kv(key, attention.num_key_value_groups)
                last = len(hidden) - behind - 1
                scores = query[0, :, last : last + 1] @ key[0, :, : last + 1].transpose(1, 2)
                weights = (scores / attention.head_dim**0.5).softmax(-1).mean(0)[0]
                best = sorted(visual, key=lambda j: (-weights[j].item(), j))[: stages[i]]
                kept = [j for j in range(len(hidden)) if j in best or j not in visual]
                visual = [kept.index(j) for j in sorted(best)]
                hidden = hidden[kept]
                rotation = llm.rotary_emb(hidden[None], torch.arange(len(hidden))[None])
            mask = torch.full((len(hidden),) * 2, torch.finfo(torch.float32).min).triu(1)
            arguments = {"attention_mask": mask[None, None], "position_embeddings": rotation}
            hidden = layer(hidden[None], **arguments)[0]
        return llm.norm(hidden[[j for j in range(len(hidden)) if j not in visual]])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", [1, 2, 5, 8])
@pytest.mark.parametrize(
    ("kind", "layers"), [("qwen2", 2), ("qwen2", 3), ("qwen2", 6), ("llama", 8)]
)
def test_equals_the_slow_model(kind, layers, tokens, side):
    llm = make_llm(kind, layers)
    embeds, mask, places = batch(PROMPTS, side)
    out = run(make(tokens, name="pyramiddrop"), llm, embeds, mask, places).last_hidden_state
    for i, (rows, visual) in enumerate(PROMPTS):
        close(out[i, mask[i] == 1][~visual], slow(llm, rows, visual, tokens))


@pytest.mark.parametrize(("kind", "layers"), [("qwen2", 2), ("qwen2", 4), ("llama", 8)])
def test_positions_close_up_in_every_step_of_an_answer(kind, layers):
    llm, projector = make_llm(kind, layers), make(2, name="pyramiddrop")
    fed, cached = decode(projector, llm, PROMPTS, 5, cache=True)
    again, uncached = decode(projector, llm, PROMPTS, 5, cache=False)
    assert torch.equal(fed, again)
    close(cached, uncached)
    for i, (rows, visual) in enumerate(PROMPTS):
        close(cached[i, -1], slow(llm, rows, visual, 2, fed[i])[-1])


def test_pyramiddrop_halves_as_released():
    assert find_stages(576, 72, 32) == [(8, 288), (16, 144), (24, 72)]
    names = {"p": 576, "v": 72, "m": 32}
    positions = evaluate_formula(find_method("pyramiddrop").positions, names)
    assert positions == (576 + 288 + 144 + 72) / 4 == 270
    for layers in range(2, 41):
        for tokens in (1, 2, 5, 72, 575, 576):
            starts, counts = zip(*find_stages(576, tokens, layers), strict=True)
            assert 1 <= starts[0] <= starts[1] <= starts[2] < layers
            assert 576 >= counts[0] >= counts[1] >= counts[2] == tokens
