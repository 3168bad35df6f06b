"""Templates of current LLMs, against the chat templates that the models themselves carry."""

import random
import re

import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.support import lookalikes
from tests.support.conversations import said
from tests.support.real import build_qwen, draw_texts, read_chat_template
from tests.support.samples import encode
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import assemble
from vlmscale.models.conversation import IGNORED
from vlmscale.models.templates import TEMPLATES
from vlmscale.settings import IMAGE_TOKEN

THOUGHT = "<think>\n\n</think>\n\n"
MODELS = {
    "qwen2_5": "qwen2.5:0.5b",
    "qwen3": "qwen3:0.6b",
    "smollm2": "smollm2:135m",
    "llama3": "llama3.2:3b",
}
MARKS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
MARKS += ["<think>", "</think>"]
# Of one question without an image, up to the answer; and what follows the answer.
WRITTEN = {
    "qwen2_5": (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>\n",
    ),
    "qwen3": (
        "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_end|>\n",
    ),
    "smollm2": (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>\n",
    ),
    "llama3": (
        "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
}


def add_marks(tokenizer):
    """Make the marks of every family tokens of their own."""
    tokenizer.add_special_tokens({"additional_special_tokens": [*MARKS, IMAGE_TOKEN]})
    return tokenizer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return add_marks(lookalikes.qwen(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return add_marks(build_qwen(tmp_path_factory.mktemp("real")))


@pytest.mark.parametrize("template", WRITTEN)
def test_prompt_and_answer_word_by_word(tiny, template):
    """The loss covers the answer and the mark that ends it, and nothing else."""
    before, after = WRITTEN[template]
    encoded = encode(said(("What?", "A red circle.")), tiny, template, visual_tokens=1)
    expected = tiny(f"{before}A red circle.{after}", add_special_tokens=False)["input_ids"]
    assert encoded.input_ids == expected
    end = tiny.convert_tokens_to_ids(TEMPLATES[template].answer_close)
    answer = tiny("A red circle.", add_special_tokens=False)["input_ids"]
    assert [label for label in encoded.labels if label != IGNORED] == [*answer, end]
    prompt = encode(said(("What?", None)), tiny, template, visual_tokens=1)
    assert prompt.input_ids == tiny(before, add_special_tokens=False)["input_ids"]


def render(tokenizer, template, turns, *, prompt=False):
    """The conversation as the model's own template writes it, without thinking, at the date it names."""
    roles = {"human": "user", "gpt": "assistant"}
    messages = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in turns]
    return tokenizer.apply_chat_template(
        messages,
        chat_template=read_chat_template(MODELS[template]),
        add_generation_prompt=prompt,
        tokenize=False,
        enable_thinking=False,
        date_string="26 Jul 2024",
        bos_token="",
    )


def draw_conversations(number):
    """Random conversations of one to four turns, half of them about an image."""
    rng, texts = random.Random(0), iter(draw_texts(20 * number))
    # Marks are not text, and each tokenizer joins the newline of a header with one that follows.
    texts = (re.sub(r"<[|/]?\w*[|]?>", "", text) for text in texts)
    texts = (text for text in texts if text == text.strip() and text and "think" not in text)
    for index in range(number):
        pairs = [(next(texts), next(texts)) for _ in range(rng.randint(1, 4))]
        if index % 2:
            pairs[0] = f"{IMAGE_TOKEN}\n{pairs[0][0]}", pairs[0][1]
        yield said(*pairs)


@pytest.mark.parametrize("template", MODELS)
def test_ids_are_those_of_the_models_own_template(real, template):
    """Prompts and whole conversations, token by token, on a released vocabulary."""
    turns_seen = 0
    for turns in draw_conversations(60):
        for end in range(1, len(turns) + 1):
            part, prompt = turns[:end], end % 2 == 1
            written = render(real, template, part, prompt=prompt)
            found = encode(part, real, template, visual_tokens=1)
            if template == "qwen3":
                # Its template writes the empty thought of the last answer alone.
                opening = TEMPLATES[template].answer_open
                assert written.count(THOUGHT) == 1
                bare = written.replace(THOUGHT, "")
                written = bare.replace(opening.removesuffix(THOUGHT), opening)
            assert found.input_ids == real(written, add_special_tokens=False)["input_ids"], written
            turns_seen += 1
        labels = [label for label in found.labels if label != IGNORED]
        answers = [turn["value"] for turn in turns[1::2]]
        end = TEMPLATES[template].answer_close
        learned = [
            real(f"{answer}{end}", add_special_tokens=False)["input_ids"] for answer in answers
        ]
        assert labels == [i for ids in learned for i in ids]
    assert turns_seen > 200


@pytest.mark.parametrize("template", MODELS)
def test_a_single_turn_is_the_models_own_without_a_change(real, template):
    """Questions of benchmarks are single turns: nothing is adapted there."""
    for turns in draw_conversations(60):
        for part, prompt in ((turns[:1], True), (turns[:2], False)):
            written = render(real, template, part, prompt=prompt)
            found = encode(part, real, template, visual_tokens=1).input_ids
            assert found == real(written, add_special_tokens=False)["input_ids"]


def test_llama_trims_what_is_said(tiny):
    written = encode(said(("\n What? \n", "  A red circle.\n")), tiny, "llama3", visual_tokens=1)
    assert written == encode(said(("What?", "A red circle.")), tiny, "llama3", visual_tokens=1)
    kept = encode(said((" What?", "A red circle.")), tiny, "qwen3", visual_tokens=1)
    assert kept != encode(said(("What?", "A red circle.")), tiny, "qwen3", visual_tokens=1)


@pytest.mark.parametrize("template", WRITTEN)
def test_our_chat_template_writes_what_ask_does(tiny, template):
    messages = [{"role": "user", "content": " What? "}, {"role": "assistant", "content": "Two"}]
    messages.append({"role": "user", "content": "How many?"})
    written = tiny.apply_chat_template(
        messages,
        chat_template=TEMPLATES[template].write_jinja(),
        add_generation_prompt=True,
        tokenize=False,
    )
    turns = said((" What? ", "Two"), ("How many?", None))
    found = encode(turns, tiny, template, visual_tokens=1)
    assert tiny(written, add_special_tokens=False)["input_ids"] == found.input_ids


def test_an_llm_without_a_padding_token_gets_one(backbones, tmp_path):
    """Llama 3 names none as it was released, and has one for this."""
    from vlmscale.models.checkpoint import load_tokenizer

    tokenizer = add_marks(lookalikes.qwen(tmp_path / "llm"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|finetune_right_pad_id|>"]})
    tokenizer.eos_token = "<|eot_id|>"
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "llm")
    assert load_tokenizer(tmp_path / "llm").pad_token is None
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    Qwen2ForCausalLM(Qwen2Config(**shape, vocab_size=len(tokenizer))).save_pretrained(
        tmp_path / "llm"
    )
    model, processor = assemble(
        tmp_path / "llm",
        backbones["tower"],
        find_method("mlp").make_setting(36),
        feature_layers=[3],
        template="llama3",
        seed=0,
    )
    assert processor.tokenizer.pad_token == "<|finetune_right_pad_id|>"
    assert model.generation_config.pad_token_id == processor.tokenizer.pad_token_id
    inputs = processor.ask([None, None], ["What?", "How many is this? Two"])
    assert inputs["attention_mask"][0, 0] == 0
    assert inputs["input_ids"][0, 0] == processor.tokenizer.pad_token_id
    assert model.eval().generate(**inputs, max_new_tokens=2).shape[0] == 2
