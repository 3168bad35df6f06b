"""The model: saved, loaded and generating through transformers, with exact token counts."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlamaConfig, LlamaForCausalLM

from tests.support.lookalikes import vicuna
from tests.support.samples import model_inputs
from vlmscale.data.shards import read_unique_images
from vlmscale.errors import UserError
from vlmscale.images import decode_image
from vlmscale.methods import find_method, list_method_names
from vlmscale.models.checkpoint import assemble, load
from vlmscale.models.feature_store import FeatureStore, write_store
from vlmscale.training.data import Collate, Conversations
from vlmscale.training.stages import save_checkpoint

CASES = [
    (name, tokens)
    for name in list_method_names()
    for tokens in {4, 36} & {*find_method(name).list_counts(6)}
]
QUESTIONS = ["any red circle ?", "how many ?", "line 1 ?"]


def generate(model, processor, images, questions):
    inputs = processor.ask(images, questions)
    out = model.generate(**inputs, max_new_tokens=6, eos_token_id=None, do_sample=False)
    return out[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tokens"), CASES)
def test_auto_classes_bring_the_method_back(build, tmp_path, images, name, tokens):
    model, processor = build(name, tokens)
    save_checkpoint(model, processor, tmp_path / "model")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    processor_again = AutoProcessor.from_pretrained(tmp_path / "model")
    assert type(again.model.multi_modal_projector) is type(model.model.multi_modal_projector)
    for (key, old), (key_again, new) in zip(
        model.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert key == key_again
        assert torch.equal(old, new), key
    expected = generate(model, processor, images, QUESTIONS)
    assert generate(again, processor_again, images, QUESTIONS) == expected
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert not [n for n in names if n.endswith((".bin", ".pt", ".py"))]
    assert json.loads((tmp_path / "model/config.json").read_text())["method"] == name


@pytest.mark.parametrize(("name", "tokens"), CASES)
def test_a_left_padded_batch_equals_single_samples(build, images, name, tokens):
    model, processor = build(name, tokens)
    with torch.no_grad():
        batch = model(**processor.ask(images, QUESTIONS)).logits[:, -1]
        single = torch.cat(
            [
                model(**processor.ask([image], [question])).logits[:, -1]
                for image, question in zip(images, QUESTIONS, strict=True)
            ]
        )
        swapped = model(**processor.ask(images[::-1], QUESTIONS)).logits[:, -1]
    torch.testing.assert_close(batch, single, atol=1e-5, rtol=1e-4)
    # The comparison has power, but for the one method that sees no image.
    assert torch.allclose(batch, swapped, atol=1e-4) == (name == "blind")


@pytest.mark.parametrize(("name", "tokens"), CASES)
def test_samples_with_and_without_an_image_share_a_batch(build, images, name, tokens):
    model, processor = build(name, tokens)
    with torch.no_grad():
        mixed = model(**processor.ask([None, images[1], None], QUESTIONS)).logits[:, -1]
        alone = model(**processor.ask([images[1]], QUESTIONS[1:2])).logits[:, -1]
        text = model(**processor.ask([None], QUESTIONS[:1])).logits[:, -1]
    torch.testing.assert_close(mixed[1:2], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mixed[:1], text, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", list_method_names())
def test_generation_with_and_without_cache_agree(build, images, name):
    model, processor = build(name, find_method(name).list_counts(6)[-3:][0])
    inputs = processor.ask(images, QUESTIONS)
    settings = {"max_new_tokens": 6, "eos_token_id": None, "do_sample": False}
    cached = model.generate(**inputs, **settings)
    assert torch.equal(cached, model.generate(**inputs, **settings, use_cache=False))


def test_the_question_reaches_quecc_and_only_its_own_sample(build, images):
    model, processor = build("quecc", 4)
    inputs = processor.ask(images, QUESTIONS)
    other = dict(inputs)
    other["question_input_ids"] = inputs["question_input_ids"].clone()
    other["question_input_ids"][2, 0] += 1
    with torch.no_grad():
        before, after = model(**inputs).logits[:, -1], model(**other).logits[:, -1]
    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2], atol=1e-6)


def test_question_embedding_is_the_last_real_token_after_the_final_norm(build, images):
    model, processor = build("quecc", 4)
    ids = torch.tensor([processor.tokenizer.encode(QUESTIONS[0])])
    padded = torch.cat([ids, torch.full((1, 5), processor.tokenizer.pad_token_id)], dim=1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 5, dtype=torch.long)], dim=1)
    embedded = []
    model.model.multi_modal_projector.register_forward_pre_hook(
        lambda _, inputs: embedded.append(inputs[0].question)
    )
    with torch.no_grad():
        alone = model.model.language_model(input_ids=ids).last_hidden_state[:, -1]
        pixels = processor.to_pixels(images[:1])
        model.model.encode_images(pixels, question_input_ids=padded, question_attention_mask=mask)
    torch.testing.assert_close(embedded[0], alone, atol=1e-5, rtol=1e-4)


def test_quecc_without_a_question_says_what_to_pass(build, images):
    model, processor = build("quecc", 4)
    inputs = processor.ask(images, QUESTIONS)
    del inputs["question_input_ids"]
    with pytest.raises(ValueError, match="pass question_input_ids"):
        model(**inputs)


def test_placeholders_and_visual_tokens_must_agree(build, images):
    model, processor = build("avgpool", 4)
    inputs = processor.ask(images[:1], QUESTIONS[:1])
    places = inputs["input_ids"] == model.config.image_token_index
    inputs["input_ids"][0, places[0].nonzero()[0, 0]] = 5
    with pytest.raises(ValueError, match=r"3 placeholders.*images give 4"):
        model(**inputs)


def test_stock_processor_call_expands_the_placeholder(build, images):
    model, processor = build("tokenpacker", 4)
    inputs = processor(images=images[0], text="<image>\nline 1 ?", return_tensors="pt")
    assert (inputs["input_ids"] == model.config.image_token_index).sum() == 4
    with torch.no_grad():
        model(**inputs)


@pytest.mark.parametrize("name", ["tokenpacker", "quecc"])
def test_stored_features_and_pixels_give_the_same_loss_and_gradients(
    build, backbones, splits, tmp_path, name
):
    """The vision cache changes nothing: the same numbers come from the tower."""
    model, processor = build(name, 4)
    images = read_unique_images(splits["stage2"])
    write_store(
        backbones["tower"],
        ((key, decode_image(content, key)) for key, content in images),
        len(images),
        tmp_path / "store",
        feature_layers=[1, 2, 3],
    )
    found = []
    for store in (None, FeatureStore(tmp_path / "store")):
        data = Conversations(
            splits["stage2"],
            processor.tokenizer,
            template="qa",
            visual_tokens=4,
            query_turn="first",
            max_length=256,
            apart=False,
            seed=0,
            features=store,
            pixels=processor.to_pixels,
        )
        field = "pixel_values" if store is None else "vision_features"
        batch = Collate(processor.tokenizer, processor.reads_question, field)(
            [data[i] for i in range(12)], np.random.default_rng(0)
        )
        assert None in [data[i].image for i in range(len(data))], "no text-only sample"
        batch = model_inputs(batch)
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        weights = model.model.multi_modal_projector.parameters()
        found.append((loss.detach(), [p.grad.clone() for p in weights]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-6, rtol=1e-6)
    for cold, warm in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(cold, warm, atol=1e-6, rtol=1e-4)


def test_features_of_another_split_are_refused(tmp_path, backbones, splits):
    images = read_unique_images(splits["test"])
    decoded = [(key, decode_image(content, key)) for key, content in images]
    write_store(
        backbones["tower"], decoded, len(images), tmp_path / "store", feature_layers=[1, 2, 3]
    )
    with pytest.raises(UserError, match="no features of image 00"):
        FeatureStore(tmp_path / "store").get("00")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", "missing"),
        ("config.json", "missing"),
        ("tokenizer.json", "missing"),
        ("processor_config.json", "missing"),
        ("model.safetensors", "truncated"),
    ],
)
def test_an_incomplete_checkpoint_is_refused_by_name(build, tmp_path, name, damage):
    save_checkpoint(*build("avgpool", 4), tmp_path / "model")
    file = tmp_path / "model" / name
    content = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(content[:-50])
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as caught:
        load(tmp_path / "model")
    assert ("missing" if damage == "missing" else "damaged") in str(caught.value)


def test_projector_seed_decides_its_weights(build, backbones):
    model, _ = build("tokenpacker", 4)
    first = {k: v.clone() for k, v in model.model.multi_modal_projector.state_dict().items()}
    torch.manual_seed(123)
    model.initialise_projector(0)
    for key, value in model.model.multi_modal_projector.state_dict().items():
        assert torch.equal(first[key], value)
    model.initialise_projector(1)
    assert not torch.equal(first["mlp.0.weight"], model.model.multi_modal_projector.mlp[0].weight)


def test_the_row_of_an_image_mark_that_an_llm_lacks_is_seeded(backbones, tmp_path):
    folder = tmp_path / "llm"
    rows = len(vicuna(folder)) - 1
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "vocab_size": rows}
    LlamaForCausalLM(LlamaConfig(**shape, **heads)).save_pretrained(folder)

    def rows_of_image(seed):
        torch.rand(1)  # what was drawn before is of no consequence
        model, processor = assemble(
            folder,
            backbones["tower"],
            find_method("mlp").make_setting(36),
            feature_layers=[1, 2, 3],
            template="vicuna_v1",
            seed=seed,
        )
        image = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
        assert image == rows
        return torch.stack(
            [model.get_input_embeddings().weight[image], model.lm_head.weight[image]]
        )

    assert torch.equal(rows_of_image(0), rows_of_image(0))
    assert not torch.equal(rows_of_image(0), rows_of_image(1))


def test_calls_at_other_token_counts_do_not_disturb_each_other(build, images):
    model, processor = build("m3", 36)
    pixels = processor.to_pixels(images)

    def encode(*counts):
        with torch.no_grad():
            counts = torch.tensor(counts) if counts else None
            return model.model.encode_images(pixels, visual_token_counts=counts).tokens

    own, several = encode(), [(1, 9), (4,), (9, 36), (1,)]
    alone = [encode(*counts) for counts in several]
    with pytest.raises(ValueError, match="visual_tokens=7"):
        encode(1, 7)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda counts: encode(*counts), several * 5))
    for found, expected in zip(together, alone * 5, strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(encode(), own)
