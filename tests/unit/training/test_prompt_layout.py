"""Text before the image: in training, in what is saved, in answers, and where it is chosen."""

import json

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from tests.support import lookalikes
from tests.support.samples import conversations, encode
from vlmscale.models.checkpoint import load
from vlmscale.models.conversation import IGNORED
from vlmscale.models.processor import VlmProcessor
from vlmscale.models.prompt_cache import cache_prompt
from vlmscale.models.templates import TEMPLATES
from vlmscale.training.stages import train_stage

STEP = {"steps": 2, "batch_size": 4, "learning_rate": 1e-2}


@pytest.fixture
def trained(spec):
    """trained(method) -> the spec of a training whose prompts have the text first, after it."""

    def train(method="quecc", **changes):
        run = spec(f"text_first_{method}", method=method, recipe=STEP, **changes)
        train_stage(run.model_copy(update={"prompt_layout": "text_first"}))
        return run

    return train


def test_a_sample_has_its_first_question_then_the_image_and_the_same_labels(build, splits):
    _, processor = build("mlp", 36)
    image = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    both = [
        conversations(splits["stage2"], processor, apart=False, layout=layout)
        for layout in ("image_first", "text_first")
    ]
    with_image = 0
    for first, second in zip(*both, strict=True):
        one, other = first.encoded, second.encoded
        assert sorted(one.input_ids) == sorted(other.input_ids)
        learned = [[i for i in each.labels if i != IGNORED] for each in (one, other)]
        assert learned[0] == learned[1]
        assert one.question_ids == other.question_ids
        pairs = zip(other.input_ids, other.labels, strict=True)
        assert all(label in (IGNORED, token) for token, label in pairs)
        if first.image is None:
            assert one == other
            continue
        with_image += 1
        begins = other.input_ids.index(image)
        assert one.input_ids[:36] == [image] * 36
        assert other.input_ids[begins : begins + 36] == [image] * 36
        # All before the image is the first question; the next token is the first that is learned.
        newline = processor.tokenizer.convert_tokens_to_ids("\n")
        assert other.input_ids[:begins] == [*one.input_ids[37 : 36 + begins], newline]
        assert other.labels[begins + 36] != IGNORED
        assert set(other.labels[: begins + 36]) == {IGNORED}
    assert with_image > 20


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "qa"])
def test_chats_are_written_in_the_layout_of_the_training(build, tmp_path, template):
    _, tiny = build("quecc", 4)
    make = lookalikes.vicuna if template == "vicuna_v1" else lookalikes.qwen
    tokenizer = make(tmp_path / "tokenizer")
    made = VlmProcessor(
        tiny.image_processor,
        tokenizer,
        visual_tokens=4,
        template=template,
        reads_question=True,
        prompt_layout="text_first",
    )
    made.save_pretrained(tmp_path / "saved")
    processor = AutoProcessor.from_pretrained(tmp_path / "saved")
    assert processor.prompt_layout == "text_first"
    content = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    chat = [{"role": "user", "content": content}]
    written = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert "What is this?\n<image>" in written
    turns = [{"from": "human", "value": "<image>\nWhat is this?"}]
    expected = encode(turns, tokenizer, template, visual_tokens=4, layout="text_first")
    image = Image.new("RGB", (8, 8))
    for found in (processor(images=image, text=written), processor.ask(image, "What is this?")):
        assert found["input_ids"][0].tolist() == expected.input_ids
        assert found["question_input_ids"][0].tolist() == expected.question_ids


def test_a_run_records_its_layout_and_its_model_asks_in_it(trained, images):
    run = trained()
    assert json.loads(run.record.read_text())["prompt_layout"] == "text_first"
    _, processor = load(run.output)
    assert processor.prompt_layout == "text_first"
    own = processor.ask(images, "how many ?")
    chosen = processor.ask(images, "how many ?", layout="text_first")
    assert torch.equal(own["input_ids"], chosen["input_ids"])
    other = processor.ask(images, "how many ?", layout="image_first")
    assert not torch.equal(own["input_ids"], other["input_ids"])


def test_by_default_nothing_is_saved_of_it(spec):
    run = spec("default", recipe=STEP)
    train_stage(run)
    assert json.loads(run.record.read_text())["prompt_layout"] == "image_first"
    assert "prompt_layout" not in json.loads((run.output / "processor_config.json").read_text())
    assert load(run.output)[1].prompt_layout == "image_first"


def test_the_layout_of_a_training_changes_its_weights(trained, spec):
    """Also of a projector that reads no question."""
    run, other = trained("tokenpacker"), spec("image_first", recipe=STEP)
    train_stage(other)
    names = ("model.multi_modal_projector.mlp.0.weight", "lm_head.weight")
    (one, _), (two, _) = (load(each.output) for each in (run, other))
    for name in names:
        assert not torch.equal(one.state_dict()[name], two.state_dict()[name])


@pytest.mark.parametrize("method", ["tokenpacker", "quecc"])
def test_a_trained_models_cached_question_gives_the_whole_passs_answers(trained, images, method):
    model, processor = load(trained(method).output)
    model.eval()
    text = "any red circle ?"
    greedy = {"max_new_tokens": 6, "eos_token_id": None, "do_sample": False}
    greedy |= {"return_dict_in_generate": True, "output_logits": True}
    whole = model.generate(**processor.ask(images, text), **greedy)
    prompt = cache_prompt(model, processor, text)
    assert prompt.before.shape[1] > 3
    cached = model.generate(pixel_values=processor.to_pixels(images), prompt_cache=prompt, **greedy)
    assert torch.equal(whole.sequences, cached.sequences)
    torch.testing.assert_close(
        torch.stack(whole.logits), torch.stack(cached.logits), atol=1e-5, rtol=0
    )
