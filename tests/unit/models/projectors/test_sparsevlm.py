"""SparseVLM against a slow model that shortens one sequence, stage after stage."""

import pytest
import torch

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
from vlmscale.models.projectors.sparsevlm import find_stages
from vlmscale.settings.formulas import evaluate_formula


def find_raters(rows, places):
    """The text tokens behind the image that resemble it more than the text does on average."""
    visual = places.nonzero().flatten().tolist()
    text = list(range(visual[-1] + 1, len(rows))) or [len(rows) - 1]
    resemblance = (rows[visual] @ rows[text].T).softmax(dim=1).mean(dim=0)
    above = [j for j, value in zip(text, resemblance, strict=True) if value > resemblance.mean()]
    return above if len(text) > 1 and above else text


def slow(llm, rows, places, tokens, generated=None):
    """One sequence (t, n), really shortened at each stage, positions from 0: states of the text."""
    hidden = rows if generated is None else torch.cat([rows, generated])
    visual = places.nonzero().flatten().tolist()
    raters = find_raters(rows, places) if visual else []
    stages, weights = dict(find_stages(PATCHES, tokens, len(llm.layers))), torch.empty(0)
    with torch.no_grad():
        for i, layer in enumerate(llm.layers):
            if i in stages and visual:
                score = weights[0].mean(0)[raters].mean(0)
                best = sorted(visual, key=lambda j: (-score[j].item(), j))[: stages[i]]
                kept = [j for j in range(len(hidden)) if j in best or j not in visual]
                visual, raters = ([kept.index(j) for j in sorted(each)] for each in (best, raters))
                hidden = hidden[kept]
            arguments = {
                "attention_mask": torch.full((len(hidden),) * 2, -1e38).triu(1)[None, None],
                "position_embeddings": llm.rotary_emb(
                    hidden[None], torch.arange(len(hidden))[None]
                ),
            }
            _, weights = layer.self_attn(layer.input_layernorm(hidden[None]), **arguments)
            hidden = layer(hidden[None], **arguments)[0]
        return llm.norm(hidden[[j for j in range(len(hidden)) if j not in visual]])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", [1, 2, 5, 8])
@pytest.mark.parametrize(
    ("kind", "layers"), [("qwen2", 2), ("qwen2", 3), ("qwen2", 9), ("llama", 12)]
)
def test_equals_the_slow_model(kind, layers, tokens, side):
    llm = make_llm(kind, layers)
    embeds, mask, places = batch(PROMPTS, side)
    out = run(make(tokens, name="sparsevlm"), llm, embeds, mask, places).last_hidden_state
    for i, (rows, visual) in enumerate(PROMPTS):
        close(out[i, mask[i] == 1][~visual], slow(llm, rows, visual, tokens))


def test_some_of_the_text_rates_here():
    """So the comparison would see a model in which all of it does."""
    chosen = [find_raters(rows, places) for rows, places in PROMPTS[:2]]
    assert len(chosen[0]) < 3 or len(chosen[1]) < 7


def test_positions_close_up_in_every_step_of_an_answer():
    llm, projector = make_llm(layers=9), make(2, name="sparsevlm")
    fed, cached = decode(projector, llm, PROMPTS, 5, cache=True)
    for i, (rows, visual) in enumerate(PROMPTS):
        close(cached[i, -1], slow(llm, rows, visual, 2, fed[i])[-1])


def test_stages_are_behind_the_released_layers():
    assert [start for start, _ in find_stages(576, 110, 32)] == [3, 7, 16]
    assert [count for _, count in find_stages(576, 118, 32)] == [340, 200, 118]
    positions = evaluate_formula(find_method("sparsevlm").positions, {"p": 576, "v": 118, "m": 32})
    assert positions == (3 * 576 + 4 * 340 + 9 * 200 + 16 * 118) / 32
    for layers in range(2, 41):
        starts, counts = zip(*find_stages(576, 5, layers), strict=True)
        assert 1 <= starts[0] <= starts[1] <= starts[2] < layers
        assert 576 >= counts[0] >= counts[1] >= counts[2] == 5
