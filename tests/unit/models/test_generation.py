"""Every way to generate puts each image's tokens into its own sequences, or is refused."""

import pytest
import torch
from transformers import GenerationConfig

from vlmscale.errors import UserError
from vlmscale.models.prompt_cache import cache_prompt

QUESTIONS = ["any red circle ?", "how many ?", "line 1 ?"]
METHODS = {
    "tokenpacker": (4, {}),
    "quecc": (4, {}),
    "fastv": (9, {}),
    "dart": (9, {}),
    "pyramiddrop": (9, {}),
    "sparsevlm": (9, {}),
    "downsample": (4, {}),
    "voco": (2, {}),
    "llava_mini": (4, {}),
    "prumerge": (20, {"count": "adaptive"}),
}
STEPS = {"max_new_tokens": 4, "eos_token_id": None}
DETAILS = {"return_dict_in_generate": True, "output_scores": True}


@pytest.fixture
def make(build):
    """make(method) -> model and processor, with visual tokens that weigh more than an untrained one's."""

    def make(name):
        tokens, options = METHODS[name]
        model, processor = build(name, tokens, **options)
        with torch.no_grad():
            for parameter in model.model.language_model.parameters():
                parameter.mul_(4 if parameter.ndim == 2 else 1)
        return model, processor

    return make


def repeat_inputs(inputs, times):
    """The same sequences, images and questions `times` in a row."""
    return {key: value.repeat_interleave(times, dim=0) for key, value in inputs.items()}


def score_answers(model, inputs, sequences):
    """The log-probability of each answer by one pass without a cache, over repeated images."""
    times = len(sequences) // len(inputs["input_ids"])
    repeated, length = repeat_inputs(inputs, times), inputs["input_ids"].shape[1]
    grown = torch.ones(len(sequences), sequences.shape[1] - length, dtype=torch.long)
    mask = torch.cat([repeated.pop("attention_mask"), grown], dim=1)
    repeated["input_ids"] = sequences
    with torch.no_grad():
        logits = model(**repeated, attention_mask=mask, prompt_length=length).logits
    chosen = logits[:, length - 1 : -1].log_softmax(-1)
    return chosen.gather(2, sequences[:, length:, None]).sum(dim=(1, 2))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("beams", "answers"), [(3, 1), (3, 3), (2, 2)])
def test_beams_score_what_a_pass_over_the_answer_scores(make, images, name, beams, answers):
    model, processor = make(name)
    inputs = processor.ask(images, QUESTIONS)
    out = model.generate(
        **inputs,
        **STEPS,
        **DETAILS,
        num_beams=beams,
        num_return_sequences=answers,
        length_penalty=0.0,
    )
    expected = score_answers(model, inputs, out.sequences)
    torch.testing.assert_close(out.sequences_scores, expected, atol=1e-4, rtol=1e-4)
    # The comparison has power: with the images of others the scores differ.
    inputs["pixel_values"] = inputs["pixel_values"].flip(0)
    assert not torch.allclose(score_answers(model, inputs, out.sequences), expected, atol=1e-3)


@pytest.mark.parametrize("name", ["tokenpacker", "prumerge"])
def test_sequences_without_an_image_share_a_beam_search(make, images, name):
    model, processor = make(name)
    mixed = processor.ask([None, images[1], None], QUESTIONS)
    together = model.generate(**mixed, **STEPS, num_beams=3)[:, mixed["input_ids"].shape[1] :]
    for i, image in enumerate([None, images[1], None]):
        inputs = processor.ask([image], QUESTIONS[i : i + 1])
        alone = model.generate(**inputs, **STEPS, num_beams=3)[:, inputs["input_ids"].shape[1] :]
        assert torch.equal(together[i : i + 1], alone)


WAYS = {
    "by keyword": lambda model: {"num_beams": 3},
    "by a config": lambda model: {"generation_config": GenerationConfig(num_beams=3, **STEPS)},
    "by the model's config": lambda model: model.generation_config.update(num_beams=3),
}


@pytest.mark.parametrize("way", WAYS)
def test_beams_are_the_same_however_they_are_asked_for(make, images, way):
    model, processor = make("tokenpacker")
    inputs = processor.ask(images, QUESTIONS)
    expected = model.generate(**inputs, **STEPS, num_beams=3)
    assert torch.equal(model.generate(**inputs, **{**STEPS, **(WAYS[way](model) or {})}), expected)


@pytest.mark.parametrize("name", METHODS)
def test_sampled_answers_are_of_their_own_image(make, images, name):
    model, processor = make(name)
    inputs = processor.ask(images, QUESTIONS)
    torch.manual_seed(0)
    out = model.generate(
        **inputs, **STEPS, **DETAILS, output_logits=True, do_sample=True, num_return_sequences=2
    )
    found = torch.stack(out.logits, dim=1).log_softmax(-1)
    length = inputs["input_ids"].shape[1]
    found = found.gather(2, out.sequences[:, length:, None]).sum(dim=(1, 2))
    torch.testing.assert_close(
        found, score_answers(model, inputs, out.sequences), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["tokenpacker", "quecc", "voco"])
def test_beams_continue_a_cached_prompt(make, images, name):
    model, processor = make(name)
    prompt = cache_prompt(model, processor, QUESTIONS[0])
    inputs = processor.ask(images, QUESTIONS[:1] * 3, layout="text_first")
    expected = model.generate(**inputs, **STEPS, num_beams=3, num_return_sequences=2)
    pixels = processor.to_pixels(images)
    found = model.generate(
        pixel_values=pixels, prompt_cache=prompt, **STEPS, num_beams=3, num_return_sequences=2
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("beams", [1, 3])
def test_static_caches_give_the_same_answers(make, images, name, beams):
    model, processor = make(name)
    inputs = processor.ask(images, QUESTIONS)
    out = [
        model.generate(**inputs, **STEPS, **DETAILS, num_beams=beams, cache_implementation=kind)
        for kind in ("static", None)
    ]
    assert torch.equal(out[0].sequences, out[1].sequences)
    for static, dynamic in zip(out[0].scores, out[1].scores, strict=True):
        torch.testing.assert_close(static, dynamic, atol=1e-4, rtol=1e-4)


def test_a_model_may_generate_the_mark_of_an_image(make, images):
    model, processor = make("tokenpacker")
    image = model.config.image_token_index
    inputs = processor.ask(images, QUESTIONS)
    texts = processor.ask([None] * 3, QUESTIONS)
    for given, use_cache in ((inputs, True), (inputs, False), (texts, True), (texts, False)):
        out = model.generate(
            **given, **STEPS, use_cache=use_cache, prefix_allowed_tokens_fn=lambda _, ids: [image]
        )
        assert (out[:, given["input_ids"].shape[1] :] == image).all()


REFUSED = {
    "prompt lookup": ({"prompt_lookup_num_tokens": 2}, "assisted_generation"),
    "an assistant": ({"assistant_model": None}, "assisted_generation"),
    "a config's prompt lookup": (
        {"generation_config": GenerationConfig(prompt_lookup_num_tokens=2)},
        "assisted_generation",
    ),
    "chunks": ({"prefill_chunk_size": 4}, "prefill_chunk_size"),
    "pages": ({"cache_implementation": "paged"}, "paged"),
    "healing": ({"token_healing": True}, "token_healing"),
    "custom code": ({"custom_generate": "owner/repository"}, "custom_generate"),
    "groups": ({"num_beams": 4, "num_beam_groups": 2}, "group_beam_search"),
    "contrast": ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive_search"),
    "embeddings": ({"inputs_embeds": torch.zeros(1, 3, 24)}, "pass input_ids"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_ways_to_generate_are_refused(make, images, case):
    model, processor = make("tokenpacker")
    settings, message = REFUSED[case]
    if "assistant_model" in settings:
        settings = {"assistant_model": model}
    with pytest.raises(UserError, match=message):
        model.generate(**processor.ask(images, QUESTIONS), max_new_tokens=2, **settings)


@pytest.mark.parametrize("call", ["forward", "generate"])
@pytest.mark.parametrize("missing", ["all", "one"])
def test_placeholders_without_an_image_are_refused(make, images, call, missing):
    model, processor = make("tokenpacker")
    inputs = processor.ask(images, QUESTIONS)
    if missing == "all":
        del inputs["pixel_values"]
    else:
        inputs["pixel_values"] = inputs["pixel_values"][:2]
    images_give = 0 if missing == "all" else 8
    with (
        torch.no_grad(),
        pytest.raises(UserError, match=rf"12 placeholders.* give {images_give}.*\[4, 4, 4\]"),
    ):
        model(**inputs) if call == "forward" else model.generate(**inputs, **STEPS)


def test_embeddings_with_images_are_refused(make, images):
    model, processor = make("tokenpacker")
    inputs = processor.ask(images, QUESTIONS)
    embeds = model.get_input_embeddings()(inputs.pop("input_ids"))
    with pytest.raises(UserError, match="images need input_ids"):
        model(**inputs, inputs_embeds=embeds)
    with torch.no_grad():
        out = model(inputs_embeds=embeds, attention_mask=inputs["attention_mask"])
    assert torch.isfinite(out.logits).all()


INPUTS = {
    "NaN": (lambda x: {"pixel_values": x["pixel_values"] * float("nan")}, "hold NaN"),
    "infinity": (lambda x: {"pixel_values": x["pixel_values"] / 0}, "infinite"),
    "small pixels": (
        lambda x: {"pixel_values": x["pixel_values"][..., :16, :16]},
        r"\(3, 3, 16, 16\)",
    ),
    "right padding": (
        lambda x: {
            "input_ids": torch.nn.functional.pad(x["input_ids"], (0, 2)),
            "attention_mask": torch.nn.functional.pad(x["attention_mask"], (0, 2)),
        },
        "padded on the right",
    ),
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_would_give_other_answers_are_refused(make, images, case):
    model, processor = make("tokenpacker")
    inputs = processor.ask(images, QUESTIONS)
    change, words = INPUTS[case]
    with pytest.raises(UserError, match=words):
        model.generate(**{**inputs, **change(inputs)}, **STEPS)
