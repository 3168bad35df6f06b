"""DART against its rule written out for one sequence, token by token."""

import pytest
import torch
from torch.nn.functional import cosine_similarity
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tests.unit.models.projectors.test_fastv import (
    PROMPTS,
    batch,
    close,
    decode,
    make,
    make_llm,
    run,
)


def choose_by_hand(sizes, units, visual, text, count):
    """Pivots by the size of their keys; each takes its share of what is least like it."""
    pivots = sorted(visual, key=lambda j: (-sizes[j], j))[: min(4, count)]
    kept, asking = sorted(pivots), sorted(sorted(text, key=lambda j: (-sizes[j], j))[:4])
    free, rest = [j for j in visual if j not in kept], count - len(kept)
    everyone = kept + asking
    for number, pivot in enumerate(everyone):
        share = rest // len(everyone) + (number < rest % len(everyone))
        likeness = {j: cosine_similarity(units[pivot], units[j], dim=0).item() for j in free}
        taken = sorted(free, key=lambda j: (likeness[j], j))[:share]
        kept = kept + taken
        free = [j for j in free if j not in taken]
    return sorted(kept)


def slow(llm, rows, places, tokens, generated=None):
    """One sequence (t, n) without padding or cache: states of what is left; ids stay as they were."""
    hidden = rows if generated is None else torch.cat([rows, generated])
    ids, start = torch.arange(len(hidden)), min(2, len(llm.layers) - 1)
    visual = places.nonzero().flatten().tolist()
    left, sizes = list(range(len(hidden))), []
    with torch.no_grad():
        for i, layer in enumerate(llm.layers):
            if i == start and visual:
                text = range(visual[-1] + 1, len(rows))
                kept = choose_by_hand(sizes, llm.norm(hidden), visual, text, tokens)
                left = [j for j in left if j in kept or j not in visual]
                hidden = hidden[left]
            rotation = llm.rotary_emb(hidden[None], ids[left][None])
            attention = layer.self_attn
            key = attention.k_proj(layer.input_layernorm(hidden[None]))
            key = key.view(1, len(hidden), -1, attention.head_dim).transpose(1, 2)
            _, key = apply_rotary_pos_emb(key, key, *rotation)
            sizes = key[0].abs().sum(dim=(0, 2)).tolist()
            mask = torch.full((len(hidden),) * 2, torch.finfo(torch.float32).min).triu(1)
            arguments = {"attention_mask": mask[None, None], "position_embeddings": rotation}
            hidden = layer(hidden[None], **arguments)[0]
        return llm.norm(hidden[[n for n, j in enumerate(left) if j not in visual]])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 7, 8])
@pytest.mark.parametrize(("kind", "layers"), [("qwen2", 2), ("qwen2", 4), ("llama", 4)])
def test_equals_the_slow_model(kind, layers, tokens, side):
    llm = make_llm(kind, layers)
    embeds, mask, places = batch(PROMPTS, side)
    out = run(make(tokens, name="dart"), llm, embeds, mask, places).last_hidden_state
    for i, (rows, visual) in enumerate(PROMPTS):
        close(out[i, mask[i] == 1][~visual], slow(llm, rows, visual, tokens))


@pytest.mark.parametrize("tokens", [12, 20, 30, 36])
def test_equals_the_slow_model_on_a_larger_image(tokens):
    llm = make_llm(layers=3)
    places = torch.zeros(48, dtype=torch.bool)
    places[3:39] = True
    rows = torch.randn(48, 32, generator=torch.Generator().manual_seed(7))
    embeds, mask = rows[None], torch.ones(1, 48, dtype=torch.long)
    out = run(make(tokens, 6, name="dart"), llm, embeds, mask, places[None]).last_hidden_state
    close(out[0][~places], slow(llm, rows, places, tokens))


def test_answers_keep_their_positions():
    llm, projector = make_llm(layers=4), make(5, name="dart")
    fed, cached = decode(projector, llm, PROMPTS, 5, cache=True)
    for i, (rows, visual) in enumerate(PROMPTS):
        close(cached[i, -1], slow(llm, rows, visual, 5, fed[i])[-1])
