"""Visual token counts that vary: by batch in elastic trainings, by image, and between run and cell."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.support.samples import conversations, model_inputs
from tests.support.trainings import weights
from vlmscale.errors import UserError
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import use_setting
from vlmscale.models.conversation import Encoded, truncate_visual_tokens
from vlmscale.training.data import Collate
from vlmscale.training.launch import launch
from vlmscale.training.stages import train_stage

QUESTIONS = ["any red circle ?", "how many ?", "line 1 ?"]


def batch_of(splits, processor, counts, *, seed=0, apart=False):
    data = conversations(splits["stage2"], processor, apart=apart)
    samples = [data[i] for i in range(len(data))]
    mixed = [s for s in samples if s.image is not None][:3] + [
        s for s in samples if s.image is None
    ][:1]
    collate = Collate(processor.tokenizer, processor.reads_question, "pixel_values", counts)
    return collate(mixed, np.random.default_rng(seed)), mixed


def test_a_sample_keeps_the_first_of_its_image_tokens():
    encoded = Encoded([7, 9, 9, 9, 5], [-100, -100, -100, -100, 5], [1])
    shorter = truncate_visual_tokens(encoded, 9, 1)
    assert (shorter.input_ids, shorter.labels) == ([7, 9, 5], [-100, -100, 5])


@pytest.mark.parametrize("apart", [False, True])
def test_a_batch_at_several_counts_has_the_mean_of_their_losses(build, splits, apart):
    """M3: one batch at all scales is the same as one batch for each scale."""
    model, processor = build("m3", 36)
    assert model.model.multi_modal_projector.draw_training_counts("stage2", None) == [1, 9, 36]
    together, _ = batch_of(splits, processor, lambda rng: [1, 9, 36], apart=apart)
    together = model_inputs(together)
    assert together["visual_token_counts"].tolist() == [1, 9, 36]
    assert len(together["input_ids"]) == 3 * 4
    losses = []
    for count in (1, 9, 36):
        alone, _ = batch_of(splits, processor, lambda rng, v=count: [v], apart=apart)
        alone = model_inputs(alone)
        losses.append(model(**alone).loss)
        assert (alone["input_ids"] == model.config.image_token_index).sum() == 3 * count
    mean = torch.stack(losses).mean()
    torch.testing.assert_close(model(**together).loss, mean, atol=1e-6, rtol=1e-5)
    assert losses[0] != losses[2]


def test_counts_are_drawn_for_the_batch(build, splits):
    _, processor = build("mqt", 16)

    def draw(rng: np.random.Generator) -> list[int]:
        return [2 * int(rng.integers(8)) + 2]

    found = [
        batch_of(splits, processor, draw, seed=seed)[0]["visual_token_counts"].item()
        for seed in (0, 0, 1, 2, 3, 4)
    ]
    assert found[0] == found[1]
    assert len(set(found)) > 2


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("name", "tokens"), [("m3", 36), ("mqt", 16), ("quecc", 4)])
def test_a_micro_batch_without_an_image_uses_all_weights(build, splits, name, tokens, apart):
    """Otherwise ranks that share weights would wait for it. Its loss is that of its text."""
    model, processor = build(name, tokens)
    _, samples = batch_of(splits, processor, None, apart=apart)
    text = [sample for sample in samples if sample.image is None]
    image = next(sample for sample in samples if sample.image is not None)
    nothing = replace(image.encoded, labels=[-100] * len(image.encoded.labels))
    filler = replace(image, encoded=nothing)
    projector = model.model.multi_modal_projector
    counts = partial(projector.draw_training_counts, "stage2") if projector.elastic else None
    plain = Collate(processor.tokenizer, processor.reads_question, "pixel_values", counts)
    filled = replace(plain, filler=filler)
    losses = []
    for collate, taken in ((plain, text), (filled, text), (filled, [*text, image])):
        batch = collate(taken, np.random.default_rng(0))
        losses.append(model(**model_inputs(batch)).loss)
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-5)
    losses[1].backward()
    assert all(p.grad is not None and not p.grad.any() for p in projector.parameters())
    model.zero_grad()
    losses[2].backward()  # one with an image is as it was
    assert any(p.grad.any() for p in projector.parameters())
    nobody = filled([], np.random.default_rng(0))
    assert (nobody["tokens"], nobody["sample_ids"]) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tokens"), [("m3", 36), ("mqt", 16)])
def test_elastic_trainings_repeat_bit_for_bit(spec, name, tokens):
    changes = {"method": name, "visual_tokens": tokens}
    once, twice = spec("once", **changes), spec("twice", **changes)
    train_stage(once)
    launch(twice)  # in another process
    assert weights(once) == weights(twice)


@pytest.mark.parametrize(("name", "trained", "evaluated"), [("m3", 36, 9), ("mqt", 16, 2)])
def test_an_elastic_checkpoint_at_another_count(build, images, name, trained, evaluated):
    model, processor = build(name, trained)
    before = model.model.multi_modal_projector.state_dict()
    full = model.model.encode_images(processor.ask(images, QUESTIONS)["pixel_values"]).tokens
    use_setting(model, processor, find_method(name).make_setting(evaluated))
    inputs = processor.ask(images, QUESTIONS)
    assert (inputs["input_ids"] == model.config.image_token_index).sum() == 3 * evaluated
    fewer = model.model.encode_images(inputs["pixel_values"]).tokens
    assert fewer.shape == (3 * evaluated, full.shape[1])
    if name == "mqt":  # a prefix
        torch.testing.assert_close(fewer.view(3, 2, -1), full.view(3, 16, -1)[:, :2])
    for key, value in model.model.multi_modal_projector.state_dict().items():
        assert torch.equal(value, before[key])
    assert torch.isfinite(model(**inputs).logits).all()


@pytest.mark.parametrize(
    "name",
    [
        "prumerge",
        "prumerge_plus",
        "random",
        "avgpool",
        "fastv",
        "cdpruner",
        "dart",
        "pyramiddrop",
        "sparsevlm",
        "tome",
    ],
)
def test_a_training_free_method_answers_with_the_weights_of_mlp(build, images, name):
    model, processor = build("mlp", 36)
    expected = {k: v.clone() for k, v in model.model.multi_modal_projector.state_dict().items()}
    use_setting(model, processor, find_method(name).make_setting(9, training="free"))
    found = model.model.multi_modal_projector.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    out = model.generate(**processor.ask(images, QUESTIONS), max_new_tokens=3, eos_token_id=None)
    assert out.shape[0] == 3


def test_repeat_takes_the_weights_of_tokenpacker(build, images):
    model, processor = build("tokenpacker", 4)
    four = model.model.encode_images(processor.ask(images, QUESTIONS)["pixel_values"]).tokens
    use_setting(model, processor, find_method("repeat").make_setting(16))
    many = model.model.encode_images(processor.ask(images, QUESTIONS)["pixel_values"]).tokens
    torch.testing.assert_close(many.view(3, 4, 4, -1), four.view(3, 1, 4, -1).expand(3, 4, 4, -1))


def test_weights_that_do_not_fit_are_refused(build):
    model, processor = build("tokenpacker", 4)
    with pytest.raises(UserError, match="trained with tokenpacker cannot serve random"):
        use_setting(model, processor, find_method("random").make_setting(4))


def test_absent_tokens_change_neither_logits_nor_answers(build, images):
    """Adaptive PruMerge: hidden placeholders leave the same logits and answers as shorter prompts."""
    model, processor = build("prumerge", 20, count="adaptive")
    inputs = processor.ask(images, QUESTIONS)
    visual = model.model.encode_images(inputs["pixel_values"])
    kept = visual.present.view(3, 20)
    assert kept.sum(1).min() < 20
    settings = {"max_new_tokens": 4, "eos_token_id": None, "do_sample": False}
    answers = model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]
    uncached = model.generate(**inputs, **settings, use_cache=False)
    assert torch.equal(answers, uncached[:, inputs["input_ids"].shape[1] :])
    with torch.no_grad():
        logits = model(**inputs).logits[:, -1]
    for i in range(3):
        alone = processor.ask(images[i : i + 1], QUESTIONS[i : i + 1])
        ids, count = alone["input_ids"][0], int(kept[i].sum())
        places = (ids == model.config.image_token_index).nonzero().flatten()
        ids = torch.cat([ids[: places[0] + count], ids[places[-1] + 1 :]])[None]
        embeds = visual.tokens.view(3, 20, -1)[i][kept[i]]
        with torch.no_grad():
            expected = model(input_ids=ids, visual_embeds=embeds).logits[:, -1]
        torch.testing.assert_close(logits[i : i + 1], expected, atol=1e-5, rtol=1e-4)
        shown = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), visual_embeds=embeds, **settings
        )
        assert torch.equal(shown[0, ids.shape[1] :], answers[i])


def test_downsample_refuses_stored_features(build, images):
    model, processor = build("downsample", 4)
    inputs = processor.ask(images, QUESTIONS)
    pixels = inputs.pop("pixel_values")
    with pytest.raises(ValueError, match="pass pixel_values, not stored features"):
        model(**inputs, vision_features=torch.zeros(3, 37, 96))
    assert model.model.encode_images(pixels).tokens.shape[0] == 3 * 4
