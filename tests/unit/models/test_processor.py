"""Every door for images and prompts leads to the pixels and tokens that `ask` makes."""

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, pipeline

from tests.support import lookalikes
from vlmscale.errors import UserError
from vlmscale.models.processor import VlmProcessor

QUESTIONS = ["any red circle ?", "how many ?", "line 1 ?"]
TOKENIZERS = {
    "qa": None,
    "qwen": lookalikes.qwen,
    "qwen_next": lookalikes.qwen,
    "vicuna_v1": lookalikes.vicuna,
}


@pytest.fixture(params=TOKENIZERS)
def processor(request, build, tmp_path):
    """A processor of each template that reads the question, saved and loaded again."""
    _, tiny = build("quecc", 4)
    write = TOKENIZERS[request.param]
    made = VlmProcessor(
        tiny.image_processor,
        write(tmp_path / "tokenizer") if write else tiny.tokenizer,
        visual_tokens=4,
        template=request.param,
        reads_question=True,
    )
    made.save_pretrained(tmp_path / "saved")
    return AutoProcessor.from_pretrained(tmp_path / "saved")


@pytest.fixture
def wide(images):
    """Images that are not square, so that padding shows."""
    return [image.resize((64, 32)) for image in images]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def chat(image, question):
    content = [{"type": "image", "image": image}] if image is not None else []
    return [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]


def test_a_bare_question_is_put_into_the_template(processor, wide):
    expected = processor.ask(wide, QUESTIONS)
    assert_same(processor(images=wide, text=QUESTIONS), expected)
    marked = [f"<image>\n{question}" for question in QUESTIONS]
    assert_same(processor(images=wide, text=marked, return_tensors="pt", padding=True), expected)
    assert_same(processor(text=QUESTIONS), processor.ask([None] * 3, QUESTIONS))
    mixed = [marked[0], QUESTIONS[1], marked[2]]
    expected = processor.ask([wide[0], None, wide[2]], QUESTIONS)
    assert_same(processor(images=[wide[0], wide[2]], text=mixed), expected)


def test_a_chat_is_the_prompt_of_ask(processor, wide):
    for image in (wide[0], None):
        prompt = processor.apply_chat_template(
            chat(image, QUESTIONS[0]), add_generation_prompt=True, tokenize=False
        )
        expected = processor.ask([image], QUESTIONS[:1])
        given = [] if image is None else [image]
        assert_same(processor(images=given, text=prompt), expected)
        whole = processor.apply_chat_template(
            chat(image, QUESTIONS[0]),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        assert_same(whole, expected)


def test_chats_are_batched(processor, wide):
    found = processor.apply_chat_template(
        [chat(*pair) for pair in zip(wide, QUESTIONS, strict=True)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    assert_same(found, processor.ask(wide, QUESTIONS))


def test_a_chat_of_several_turns_is_the_training_conversation(processor):
    from vlmscale.models.conversation import encode_all

    said = [("user", "how many ?"), ("assistant", "2"), ("user", "any red circle ?")]
    if not processor.chat_template.startswith('{% set template = {"system": ""'):
        (expected,) = encode_all(
            [[{"from": {"user": "human"}.get(role, "gpt"), "value": text} for role, text in said]],
            processor.tokenizer,
            processor.template,
            visual_tokens=4,
        )
        messages = [{"role": role, "content": text} for role, text in said]
        found = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True
        )
        assert found["input_ids"].tolist() == [expected.input_ids]


@pytest.mark.parametrize("name", ["tokenpacker", "quecc"])
def test_a_pipeline_answers_as_ask_does(build, wide, name):
    model, processor = build(name, 4)
    pipe = pipeline("image-text-to-text", model=model, processor=processor)
    settings = {"max_new_tokens": 4, "do_sample": False}
    for image, question in zip(wide, QUESTIONS, strict=True):
        inputs = processor.ask([image], [question])
        (expected,) = processor.decode_answers(inputs, model.generate(**inputs, **settings))
        ways = [
            pipe(text=chat(image, question), generate_kwargs=settings, return_full_text=False),
            pipe(
                image, text=f"<image>\n{question}", generate_kwargs=settings, return_full_text=False
            ),
            pipe(image, text=question, generate_kwargs=settings, return_full_text=False),
        ]
        for (answer,) in ways:
            assert answer["generated_text"].strip() == expected.strip()


def test_answers_are_decoded_without_the_prompt(build, images):
    model, processor = build("mlp", 36)
    inputs = processor.ask(images, QUESTIONS)
    ids = model.generate(**inputs, max_new_tokens=3, eos_token_id=None, do_sample=False)
    answers = processor.decode_answers(inputs, ids)
    assert len(answers) == 3
    assert not any("<image>" in answer or "circle ?" in answer for answer in answers)


def test_images_and_questions_may_be_single_or_paths(build, images, tmp_path):
    _, processor = build("quecc", 4)
    images[0].save(tmp_path / "scene.png")
    expected = processor.ask([images[0]] * 3, QUESTIONS)
    for given in (images[0], tmp_path / "scene.png", str(tmp_path / "scene.png")):
        assert_same(processor.ask(given, QUESTIONS), expected)
        assert_same(processor.ask([given] * 3, QUESTIONS), expected)
    one = processor.ask(images, [QUESTIONS[0]] * 3)
    assert_same(processor.ask(images, QUESTIONS[0]), one)
    assert_same(processor.ask(None, QUESTIONS), processor.ask([None] * 3, QUESTIONS))


WRONG = {
    "two images": (lambda image: ([image, image], QUESTIONS), "2 images and 3 questions"),
    "no question": (lambda image: ([], []), "0 images and 0 questions"),
    "no file": (lambda image: ("absent.png", "how many ?"), "no image file absent.png"),
    "a URL": (lambda image: ("https://x/y.png", "how many ?"), "no image file"),
    "a number": (lambda image: (image, [3]), r"questions\[0\] is a int"),
    "an array": (lambda image: ([np.asarray(image)], ["how many ?"]), r"images\[0\] is a ndarray"),
    "a bare array": (lambda image: (np.asarray(image), "how many ?"), r"images\[0\] is a ndarray"),
    "a tensor": (
        lambda image: ([torch.zeros(3, 9, 9)], ["how many ?"]),
        r"images\[0\] is a Tensor",
    ),
    "bytes": (lambda image: ([b"\x89PNG"], ["how many ?"]), r"images\[0\] is a bytes"),
    "fractions": (lambda image: (image.convert("F"), "how many ?"), r"images\[0\] .* fractions"),
    "a mark without an image": (
        lambda image: ([image, None], ["how many ?", "<image> any ?"]),
        r"questions\[1\] says <image>, but has no image",
    ),
    "two marks": (
        lambda image: (image, "<image> and <image> ?"),
        r"questions\[0\] says <image>, but has one image",
    ),
}


WRONG |= {
    "no texts": (lambda image: (image, None), "questions is a NoneType, neither a text nor a list"),
    "bytes for a text": (lambda image: (image, b"any ?"), "questions is a bytes"),
    "a list of lists": (lambda image: ([image], [["any ?"]]), r"questions\[0\] is a list"),
    "half a character": (lambda image: (image, "a \ud800 ?"), "half of a surrogate pair"),
    "a folder": (lambda image: ("/", "any ?"), "no image file /"),
    "an image as text": (lambda image: ("iVBOR" * 3000, "any ?"), "no image file iVBOR.{60,80}[.]"),
    "a zero byte": (lambda image: ("a\0b", "any ?"), "no image file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked_is_named(build, images, case):
    _, processor = build("quecc", 4)
    make, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        processor.ask(*make(images[0]))


CALLS = {
    "too few images": (
        lambda image: {"images": [image], "text": ["<image>\na ?", "<image>\nb ?"]},
        "1 images",
    ),
    "two marks": (
        lambda image: {"images": [image] * 2, "text": "<image><image> a ?"},
        r"\[2\] times",
    ),
    "truncation": (
        lambda image: {"text": "a ?", "truncation": True},
        "truncation is not supported",
    ),
    "numpy": (
        lambda image: {"text": "a ?", "return_tensors": "np"},
        "return_tensors is not supported",
    ),
    "nothing": (lambda image: {}, "pass images, text or both"),
    "the arguments swapped": (
        lambda image: {"images": "a ?", "text": image},
        "text is a PngImageFile",
    ),
    "no text": (lambda image: {"images": image, "text": [None]}, r"text\[0\] is a NoneType"),
    "a dictionary": (lambda image: {"images": image, "text": {"a": 1}}, "text is a dict"),
    "right padding": (lambda image: {"text": "a ?", "padding_side": "right"}, "padding"),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls_that_would_mean_something_else_are_refused(build, images, case):
    _, processor = build("tokenpacker", 4)
    make, message = CALLS[case]
    with pytest.raises(UserError, match=message):
        processor(**make(images[0]))


def test_a_damaged_image_is_named_with_its_path_alone(build, tmp_path):
    _, processor = build("tokenpacker", 4)
    (tmp_path / "a.png").write_bytes(b"\x89PNG, no more")
    with pytest.raises(
        UserError, match=r"a\.png: the image cannot be used: does not decode.*\)\.$"
    ):
        processor.ask(tmp_path / "a.png", "any ?")


def test_questions_come_from_any_iterable_and_layouts_from_a_list(build, images):
    _, processor = build("tokenpacker", 4)
    expected = processor.ask(images, QUESTIONS)
    assert_same(processor.ask(images, np.array(QUESTIONS)), expected)
    assert_same(processor.ask(images, (question for question in QUESTIONS)), expected)
    with pytest.raises(UserError, match="layout must be one of image_first, text_first"):
        processor.ask(images, QUESTIONS, layout="last")


CHATS = {
    "no chat": (None, {}, "a list of messages"),
    "no message": ([], {}, "a list of messages"),
    "a typing error": (
        [{"type": "imag"}, {"type": "text", "text": "a ?"}],
        {},
        "part of type 'imag'",
    ),
    "a video": ([{"type": "video", "video": "a.mp4"}], {}, "part of type 'video'"),
    "a text elsewhere": ([{"type": "text", "content": "a ?"}], {}, "'text' without a 'text'"),
    "a bare part": (["a ?"], {}, "part of type 'str'"),
    "a number": (3, {}, "has no 'content'"),
    "tools": ("a ?", {"tools": [{"name": "x"}]}, "has not learned tools"),
    "documents": ("a ?", {"documents": [{"text": "x"}]}, "has not learned documents"),
}


@pytest.mark.parametrize("case", CHATS)
def test_nothing_of_a_chat_is_left_out_silently(build, case):
    _, processor = build("tokenpacker", 4)
    content, options, words = CHATS[case]
    messages = content if content in (None, []) else [{"role": "user", "content": content}]
    with pytest.raises(UserError, match=words):
        processor.apply_chat_template(messages, **options)
    if messages:
        with pytest.raises(UserError, match=words):
            processor.apply_chat_template([messages, messages], **options)


def test_a_chat_with_two_images_or_another_system_prompt_is_refused(processor, images):
    for messages in (
        chat(images[0], "<image> any ?"),
        [{"role": "system", "content": "Be rude."}, *chat(images[0], "any ?")],
    ):
        with pytest.raises(Exception, match="Leave out the system prompt"):
            processor.apply_chat_template(messages, add_generation_prompt=True)


def test_unknown_words_are_said(build, images):
    _, processor = build("tokenpacker", 4)
    with pytest.warns(UserWarning, match=r"prompts \[1\] have words .* reads <unk>"):
        processor.ask(images, ["how many ?", "Describe the scene", "line 1 ?"])
