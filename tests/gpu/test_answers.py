"""Answers on the device are the CPU's: plain, with cached text, and with visual tokens pruned in the LLM."""

from copy import deepcopy

import pytest
import torch

from tests.gpu.tiny import choose_count, draw
from vlmscale.methods import find_method, list_method_names
from vlmscale.models.prompt_cache import cache_prompt

IMAGES = [draw(100 + number) for number in range(3)]
TEXT = "which colour ?"
# Others choose or mix by the question, so no part of a prompt is computed before its image.
CACHED = [
    name
    for name in list_method_names()
    if not {"llm_attention", "text_embeddings"} & set(find_method(name).needs)
]
GREEDY = {
    "max_new_tokens": 6,
    "eos_token_id": None,
    "do_sample": False,
    "return_dict_in_generate": True,
    "output_logits": True,
}


def generate(model, **inputs):
    """Return the answers' ids (b, 6) and logits (6, b, vocabulary), on the CPU."""
    inputs = {k: v.to(model.device) if torch.is_tensor(v) else v for k, v in inputs.items()}
    out = model.generate(**inputs, **GREEDY)
    return out.sequences[:, -GREEDY["max_new_tokens"] :].cpu(), torch.stack(out.logits).cpu()


def assert_same(found, expected):
    ids, logits = expected
    assert torch.equal(found[0], ids)
    torch.testing.assert_close(found[1], logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", list_method_names())
def test_answers_are_those_of_the_cpu(device, build, name):
    """FastV among them: it prunes between two layers, in the prefill and in every later pass."""
    model, processor = build(name, choose_count(name))
    there = deepcopy(model).to(device)
    inputs = processor.ask(IMAGES, [TEXT, "how many ?", TEXT])
    expected = generate(model, **inputs)
    assert_same(generate(there, **inputs), expected)
    if name != "blind":
        first = expected[1][0]
        assert (first[0] - first[2]).abs().max() > 1e-2, "two images look alike"


@pytest.mark.parametrize("name", CACHED)
def test_a_cached_prompt_answers_as_the_cpu_does_without_it(device, build, name):
    model, processor = build(name, choose_count(name))
    expected = generate(model, **processor.ask(IMAGES, [TEXT] * 3, layout="text_first"))
    there = deepcopy(model).to(device)
    prompt = cache_prompt(there, processor, TEXT)
    pixels = processor.to_pixels(IMAGES)
    assert_same(generate(there, pixel_values=pixels, prompt_cache=prompt), expected)


def test_pruning_hides_tokens(device, build):
    """The comparison with the CPU has power: fewer kept tokens give other logits."""
    logits = []
    for tokens in (1, 9):
        model, processor = build("fastv", tokens)
        logits.append(generate(model.to(device), **processor.ask(IMAGES, [TEXT] * 3))[1][0])
    assert (logits[0] - logits[1]).abs().max() > 1e-2
