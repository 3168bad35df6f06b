"""Cached text changes no answer: the same prompt with its text computed anew for every image."""

import re

import pytest
import torch

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.methods import find_method, list_method_names
from vlmscale.models.prompt_cache import cache_prompt
from vlmscale.training.stages import save_checkpoint

pytestmark = pytest.mark.slow

TEXT = "any red circle ?"
# Every method but those that act inside the LLM or on its text, at one token and at more where it can.
CASES = [
    (name, tokens)
    for name in list_method_names()
    if not {"llm_attention", "text_embeddings"} & set(find_method(name).needs)
    for tokens in sorted({1, 4, 5, 36} & {*find_method(name).list_counts(6)})[:2]
]
GREEDY = {
    "max_new_tokens": 6,
    "eos_token_id": None,
    "do_sample": False,
    "return_dict_in_generate": True,
    "output_logits": True,
}


def uncached(model, processor, images, text=TEXT):
    inputs = processor.ask(images, [text] * len(images), layout="text_first")
    out = model.generate(**inputs, **GREEDY)
    return out.sequences, torch.stack(out.logits)


def cached(model, processor, images, prompt):
    out = model.generate(pixel_values=processor.to_pixels(images), prompt_cache=prompt, **GREEDY)
    return out.sequences, torch.stack(out.logits)


@pytest.mark.parametrize(("name", "tokens"), CASES)
def test_answers_are_those_of_the_uncached_prompt(build, images, name, tokens):
    model, processor = build(name, tokens)
    prompt = cache_prompt(model, processor, TEXT)
    before = [(keys.clone(), values.clone()) for keys, values in prompt.keys_values]
    # One cache serves a batch, and single images after it.
    for shown in (images, images[:1], images[1:2]):
        expected, logits = uncached(model, processor, shown)
        found, its_logits = cached(model, processor, shown, prompt)
        assert torch.equal(found, expected)
        torch.testing.assert_close(its_logits, logits, atol=1e-5, rtol=0)
    for (keys, values), (old_keys, old_values) in zip(prompt.keys_values, before, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)
    # The comparison has power: the images differ, but for the one method that sees none.
    alike = torch.allclose(logits_of(model, processor, images), logits[:1], atol=1e-4)
    assert alike == (name == "blind")


def logits_of(model, processor, images):
    """Of the first token of the first image's answer."""
    return uncached(model, processor, images[:1])[1][:1]


def test_tokens_that_an_image_lacks_stay_hidden(build, images):
    model, processor = build("prumerge", 9, count="adaptive", training="trained")
    kept = model.model.encode_images(processor.to_pixels(images)).present
    assert not kept.all(), "no image has fewer tokens than the most"
    prompt = cache_prompt(model, processor, TEXT)
    expected, logits = uncached(model, processor, images)
    found, its_logits = cached(model, processor, images, prompt)
    assert torch.equal(found, expected)
    torch.testing.assert_close(its_logits, logits, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings(
    "ignore:prompts .* have words"
)  # the tiny tokenizer knows no template's
@pytest.mark.parametrize("template", ["qwen", "vicuna_v1"])
def test_what_follows_the_image_is_part_of_the_prompt(build, images, template):
    model, processor = build("quecc", 4)
    processor.template = template
    try:
        prompt = cache_prompt(model, processor, TEXT)
        assert (prompt.rest == model.config.image_token_index).sum() == 4
        assert not (prompt.before == model.config.image_token_index).any()
        assert prompt.rest.shape[1] > 4  # the opening of the answer
        assert TEXT in processor.tokenizer.decode(prompt.before[0])
        expected, logits = uncached(model, processor, images)
        found, its_logits = cached(model, processor, images, prompt)
        assert torch.equal(found, expected)
        torch.testing.assert_close(its_logits, logits, atol=1e-5, rtol=0)
    finally:
        processor.template = "qa"


@pytest.mark.parametrize(("name", "tokens"), [("mlp", 36), ("tokenpacker", 1), ("quecc", 4)])
def test_in_16_bits_it_differs_by_rounding(build, images, name, tokens):
    model, processor = build(name, tokens)
    model.to(torch.bfloat16)
    prompt = cache_prompt(model, processor, TEXT)
    assert {keys.dtype for keys, _ in prompt.keys_values} == {torch.bfloat16}
    _, logits = uncached(model, processor, images)
    _, its_logits = cached(model, processor, images, prompt)
    # Of the first token; later ones follow what was generated.
    spread = logits[0].float().std()
    assert (its_logits[0].float() - logits[0].float()).abs().max() < 0.05 * spread


def test_the_text_and_the_question_pass_through_the_llm_once(build, images):
    """What a deployer saves: later passes are over the image's tokens alone."""
    model, processor = build("quecc", 4)
    lengths = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(
            next(
                kwargs[name].shape[1]
                for name in ("inputs_embeds", "input_ids")
                if kwargs.get(name) is not None
            )
        ),
        with_kwargs=True,
    )
    try:
        prompt = cache_prompt(model, processor, TEXT)
        question = len(processor.tokenizer.encode(TEXT))
        assert lengths == [prompt.before.shape[1], question]
        lengths.clear()
        for _ in range(2):
            cached(model, processor, images, prompt)
        assert lengths == 2 * [prompt.rest.shape[1], 1, 1, 1, 1, 1]
    finally:
        hook.remove()


def test_another_text_gives_another_prompt(build, images):
    model, processor = build("quecc", 4)
    first, second = (cache_prompt(model, processor, text) for text in (TEXT, "how many ?"))
    assert not torch.equal(first.question_states[:, -1], second.question_states[:, -1])
    _, logits = cached(model, processor, images, first)
    _, others = cached(model, processor, images, second)
    assert not torch.allclose(logits[0], others[0], atol=1e-3)


def test_a_question_read_before_serves_an_ordinary_prompt(build, images):
    model, processor = build("quecc", 4)
    inputs = processor.ask(images, [TEXT] * 3)
    expected = model.generate(**inputs, **GREEDY).sequences
    states = model.model.encode_questions(
        inputs.pop("question_input_ids")[:1], inputs["question_attention_mask"][:1]
    )
    found = model.generate(**inputs, question_states=states.expand(3, -1, -1), **GREEDY).sequences
    assert torch.equal(found, expected)


def test_wrong_use_says_what_to_do(build, images):
    model, processor = build("tokenpacker", 4)
    prompt = cache_prompt(model, processor, TEXT)
    with pytest.raises(ValueError, match="pass pixel_values"):
        model.generate(prompt_cache=prompt, max_new_tokens=2)
    inputs = processor.ask(images, [TEXT] * 3)
    with pytest.raises(ValueError, match="whole prompt: leave out input_ids"):
        model.generate(**inputs, prompt_cache=prompt, max_new_tokens=2)
    text = model.config.text_config
    text.layer_types = ["sliding_attention"] * 2
    text.sliding_window = 4
    model.model.language_model.has_sliding_layers = True
    with pytest.raises(UserError, match="sliding window"):
        cache_prompt(model, processor, TEXT)
    model, processor = build("fastv", 4)
    with pytest.raises(UserError, match="fastv prunes inside the LLM"):
        cache_prompt(model, processor, TEXT)
    model, processor = build("llava_mini", 4)
    with pytest.raises(UserError, match="llava_mini mixes the image into the text"):
        cache_prompt(model, processor, TEXT)


def test_the_page_shows_code_that_runs(build, images, tmp_path, capsys):
    page = (ROOT / "docs/latency.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    save_checkpoint(*build("quecc", 4), tmp_path / "model")
    capsys.readouterr()
    exec(code, {"folder": tmp_path / "model", "batches": [images, images[:1]]})
    lines = capsys.readouterr().out.splitlines()
    assert [len(eval(line)) for line in lines] == [3, 1]
