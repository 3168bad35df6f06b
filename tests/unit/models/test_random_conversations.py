"""Random conversations in the templates of Qwen and Vicuna, against these models' own readers."""

import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support import lookalikes
from tests.support.conversations import FAMILIES, said
from tests.support.samples import encode
from vlmscale.models.conversation import IGNORED
from vlmscale.models.templates import TEMPLATES
from vlmscale.settings import IMAGE_TOKEN


@pytest.fixture(scope="module")
def spm():
    return lookalikes.spm_model()


# Everything that tokenizers treat in ways of their own: runs of spaces and lines, digits, contractions,
# accents in one and in two code points, scripts and signs that only bytes can spell.
BLANKS = [" ", "  ", "\n", "\n\n", " \n", "\r\n", "\t"]
LATIN = ["What", "this", "a", ".", "?", "'s", "42", "x", "{}", "USER:", "ASSISTANT:"]
OTHER = ["é", "e\u0301", "\u0301", "漢字", "🙂", "▁", "Ġ"]
WORDS = st.lists(st.sampled_from(BLANKS + LATIN + OTHER), max_size=8).map("".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3)
many = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def with_image(pairs, image):
    """The conversation, and its questions as a template reads them."""
    (first, answer), *rest = pairs
    if not image:
        return said(*pairs), pairs
    return (
        said((first + IMAGE_TOKEN, answer), *rest),
        [(f"{IMAGE_TOKEN}\n{first.strip()}".strip(), answer), *rest],
    )


def spliced(chunks, tokenizer, visual_tokens):
    """Ids of the texts around an image, and the image between them."""
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    ids = list(chunks[0])
    for chunk in chunks[1:]:
        ids += [image] * visual_tokens + chunk
    return ids


@many
@given(pairs=PAIRS, image=st.booleans())
def test_qwen_reads_each_message_as_its_tokenizer_does(tokenizers, pairs, image):
    """The released code tokenises message by message, which no mark of the template can tell apart."""
    tokenizer = tokenizers["qwen"]
    turns, read = with_image(pairs, image)
    messages = [("system", "You are a helpful assistant.")]
    for question, answer in read:
        messages += [("user", question), ("assistant", answer)]
    text = [f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages]
    ids = [i for message in text for i in tokenizer.encode(message, add_special_tokens=False)]
    image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    expected = [i for token in ids for i in ([token] * 3 if token == image_id else [token])]
    for template in ("qwen", "qwen_next"):
        assert encode(turns, tokenizer, template, visual_tokens=3).input_ids == expected


def spm_ids(spm, text):
    """Sentencepiece's own ids of a text with marks: a space before the text, none after a mark."""
    ids = []
    for i, section in enumerate(re.split("(</s>)", text)):
        if section == "</s>":
            ids.append(spm.eos_id())
        elif i == 0:
            ids += spm.encode(section)
        elif section:
            # A newline is a byte that joins with nothing: after it there is no space of sentencepiece's.
            ids += spm.encode("\n" + section)[2:]
    return ids


@many
@given(pairs=PAIRS, image=st.booleans())
def test_vicuna_reads_the_conversation_as_sentencepiece_does(tokenizers, spm, pairs, image):
    tokenizer = tokenizers["vicuna"]
    turns, read = with_image(pairs, image)
    text = TEMPLATES["vicuna_v1"].system
    answers = [f" {answer}</s>" if answer else "" for _, answer in read]
    text += "".join(f"USER: {q} ASSISTANT:{a}" for (q, _), a in zip(read, answers, strict=True))
    chunks = [spm_ids(spm, chunk) for chunk in text.split(IMAGE_TOKEN)]
    expected = [tokenizer.bos_token_id, *spliced(chunks, tokenizer, 3)]
    assert encode(turns, tokenizer, "vicuna_v1", visual_tokens=3).input_ids == expected


@pytest.mark.slow
@pytest.mark.parametrize("template", FAMILIES)
@many
@given(pairs=PAIRS, image=st.booleans())
def test_a_prompt_is_how_its_training_sample_begins(tokenizers, template, pairs, image):
    # Qwen joins the newline of the header with one that an answer begins with.
    assume(FAMILIES[template] != "qwen" or not any(re.match(r"\s*[\r\n]", a) for _, a in pairs))
    tokenizer = tokenizers[FAMILIES[template]]
    turns, _ = with_image(pairs, image)
    sample = encode(turns, tokenizer, template, visual_tokens=3)
    for end in range(1, len(turns), 2):
        prompt = encode(turns[:end], tokenizer, template, visual_tokens=3)
        assert sample.input_ids[: len(prompt.input_ids)] == prompt.input_ids
        assert sample.labels[: len(prompt.labels)] == prompt.labels
        answered = encode(turns[: end + 1], tokenizer, template, visual_tokens=3)
        rest = answered.labels[len(prompt.labels) :]
        assert IGNORED not in (rest[:-1] if template == "qwen" else rest)  # its last newline is not


@pytest.mark.parametrize("template", FAMILIES)
@many
@given(pairs=PAIRS, image=st.booleans())
def test_every_sample_learns_the_end_of_each_answer(tokenizers, template, pairs, image):
    tokenizer = tokenizers[FAMILIES[template]]
    turns, _ = with_image(pairs, image)
    encoded = encode(turns, tokenizer, template, visual_tokens=3)
    end = tokenizer.convert_tokens_to_ids(TEMPLATES[template].answer_close)
    supervised = sum(label == end for label in encoded.labels)
    of_others = 1 + len(pairs) if template == "qwen_next" else 0  # system and questions
    learned = [answer for _, answer in pairs if answer or template != "vicuna_v1"]
    assert supervised == len(learned) + of_others


@pytest.mark.parametrize("template", ["qwen", "vicuna_v1"])
@many
@given(pairs=PAIRS)
def test_a_turn_apart_reads_as_if_asked_alone(tokenizers, template, pairs):
    tokenizer = tokenizers[FAMILIES[template]]
    pairs = [(" ".join(q.split()) or "What?", a.strip()) for q, a in pairs]
    turns, read = with_image(pairs, image=True)
    joint = encode(turns, tokenizer, template, visual_tokens=3, apart=True)
    for number, (question, answer) in enumerate(read, 1):
        opening = "" if number == 1 else f"{IMAGE_TOKEN}\n"
        alone = encode(said((opening + question, answer)), tokenizer, template, visual_tokens=3)
        own = [i for i, turn in enumerate(joint.turns) if turn in (0, number)]
        assert [joint.input_ids[i] for i in own] == alone.input_ids
        assert [joint.labels[i] for i in own] == alone.labels
