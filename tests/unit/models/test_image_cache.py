"""Cached images change no answer, and keep as many bytes as the cost model says."""

import re

import pytest
import torch

from tests.support.paths import ROOT
from vlmscale.costs.shapes import read_decoder
from vlmscale.costs.sharing import count_kept_bytes
from vlmscale.errors import UserError
from vlmscale.models.image_cache import cache_images
from vlmscale.training.stages import save_checkpoint

QUESTIONS = ["any red circle ?", "how many ?", "line 1 ?"]
GREEDY = {
    "max_new_tokens": 5,
    "eos_token_id": None,
    "return_dict_in_generate": True,
    "output_logits": True,
}
CASES = [
    ("voco", 1, {}),
    ("voco", 4, {"rows": "own"}),
    ("voco", 2, {"hide": "before"}),
    ("tokenpacker", 4, {}),
    ("mlp", 36, {}),
]


@pytest.fixture
def make(build):
    """make(method, tokens, **options) -> model and processor, with attention sharp enough to matter."""

    def make(name, tokens, **options):
        model, processor = build(name, tokens, **options)
        processor.template = "qwen"  # which has text before the image
        with torch.no_grad():
            for parameter in model.model.language_model.parameters():
                parameter.mul_(4 if parameter.ndim == 2 else 1)
        return model, processor

    return make


def answer(model, inputs):
    out = model.generate(**inputs, **GREEDY)
    return out.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(out.logits)


@pytest.mark.filterwarnings("ignore:prompts .* have words")
@pytest.mark.parametrize(("name", "tokens", "options"), CASES)
def test_two_passes_give_what_one_gives(make, images, name, tokens, options):
    """Of questions of different lengths, each of several, and of images alone and together."""
    model, processor = make(name, tokens, **options)
    cache = cache_images(model, processor, images)
    for asked in (QUESTIONS, QUESTIONS[::-1], ["how many ?"] * 3):
        expected, logits = answer(model, processor.ask(images, asked))
        found, its_logits = answer(model, cache.ask(asked))
        assert torch.equal(found, expected)
        torch.testing.assert_close(its_logits, logits, atol=1e-5, rtol=1e-4)
    alone = answer(model, cache_images(model, processor, images[1:2]).ask("how many ?"))[1]
    torch.testing.assert_close(alone[:, 0], its_logits[:, 1], atol=1e-5, rtol=1e-4)
    # The comparison has power: images differ.
    assert not torch.allclose(its_logits[0, 0], its_logits[0, 1], atol=1e-3)


@pytest.mark.filterwarnings("ignore:prompts .* have words")
def test_positions_are_those_of_the_whole_prompt(make, images):
    """Counted without the patches, the answers would be others."""
    model, processor = make("voco", 2)
    cache = cache_images(model, processor, images)
    inputs = cache.ask(QUESTIONS)
    assert cache.next_position - cache.ids.shape[1] == 36
    _, logits = answer(model, cache.ask(QUESTIONS))
    inputs["position_ids"][:, cache.ids.shape[1] :] -= 36
    assert not torch.allclose(answer(model, inputs)[1][0], logits[0], atol=1e-3)


@pytest.mark.parametrize(("name", "tokens", "options"), CASES)
def test_the_bytes_kept_are_those_of_the_cost_model(build, images, name, tokens, options):
    """In 16 bits, beside the text that stands before the image."""
    model, processor = build(name, tokens, **options)
    model.to(torch.bfloat16)
    cache = cache_images(model, processor, images)
    is_image = cache.ids[0] == model.config.image_token_index
    assert is_image.sum() == tokens
    decoder = read_decoder(model.config.text_config.to_dict())
    expected = count_kept_bytes(decoder, name, tokens, patches=36)
    before = int((~is_image).sum()) * decoder.key_value_bytes
    assert cache.nbytes == 3 * (expected + before)
    assert answer(model, cache.ask(QUESTIONS))[0].shape == (3, 5)


@pytest.mark.filterwarnings("ignore:prompts .* have words")
def test_beams_continue_a_cached_image(make, images):
    model, processor = make("voco", 2)
    steps = {"max_new_tokens": 4, "eos_token_id": None, "num_beams": 3}
    inputs = processor.ask(images, QUESTIONS)
    expected = model.generate(**inputs, **steps)[:, inputs["input_ids"].shape[1] :]
    cached = cache_images(model, processor, images).ask(QUESTIONS)
    found = model.generate(**cached, **steps)[:, cached["input_ids"].shape[1] :]
    assert torch.equal(found, expected)


def test_wrong_use_says_what_to_do(build, images):
    for name in ("quecc", "fastv", "llava_mini"):
        model, processor = build(name, 4)
        with pytest.raises(UserError, match=f"{name} reads image and question together"):
            cache_images(model, processor, images)
    model, processor = build("prumerge", 9, count="adaptive")
    with pytest.raises(UserError, match="different numbers of tokens"):
        cache_images(model, processor, images)
    model, processor = build("voco", 1)
    with pytest.raises(UserError, match="2 questions for 3 images"):
        cache_images(model, processor, images).ask(["how many ?"] * 2)


def test_the_page_shows_code_that_runs(build, images, tmp_path, capsys):
    page = (ROOT / "docs/one-token.md").read_text()
    save_checkpoint(*build("voco", 1), tmp_path / "model")
    capsys.readouterr()
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    exec(code, {"folder": tmp_path / "model", "image": images[0]})
    *answers, kept = capsys.readouterr().out.splitlines()
    assert [len(eval(line)) for line in answers] == [1, 1]
    assert int(kept) > 0
