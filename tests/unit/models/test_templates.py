"""The templates of Qwen and Vicuna token by token, on small tokenizers of their form.

In the expectations `[token]` is supervised, `token` is not; `Ġ` and `▁` stand for a space, `Ċ` and `<0x0A>`
for a newline.
"""

import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support import lookalikes
from tests.support.samples import encode
from vlmscale.models.conversation import IGNORED, TEMPLATES
from vlmscale.settings import IMAGE_TOKEN

FAMILIES = {"qwen": "qwen", "qwen_next": "qwen", "vicuna_v1": "vicuna"}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "qwen": lookalikes.qwen(folder / "qwen"),
        "vicuna": lookalikes.vicuna(folder / "vicuna"),
        "vicuna_legacy": lookalikes.vicuna(folder / "legacy", legacy=True),
    }


@pytest.fixture(scope="module")
def spm():
    return lookalikes.spm_model()


def said(*pairs):
    """A conversation of (question, answer) pairs; an answer of None leaves a prompt."""
    return [
        {"from": speaker, "value": value}
        for pair in pairs
        for speaker, value in zip(("human", "gpt"), pair, strict=True)
        if value is not None
    ]


def shown(tokenizer, encoded):
    """Tokens in one string, the supervised ones in brackets."""
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    supervised = [label != IGNORED for label in encoded.labels]
    assert all(
        label in (token, IGNORED)
        for token, label in zip(encoded.input_ids, encoded.labels, strict=True)
    )
    return [f"[{t}]" if yes else t for t, yes in zip(tokens, supervised, strict=True)]


SYSTEM = {
    "qwen": "<|im_start|> system Ċ You Ġare Ġa Ġhelpful Ġassistant . <|im_end|> Ċ",
    "qwen_next": "[<|im_start|>] system [Ċ] You Ġare Ġa Ġhelpful Ġassistant . [<|im_end|>] [Ċ]",
    "vicuna_v1": "<s> ▁A ▁chat ▁between ▁a ▁curious ▁user ▁and ▁an ▁artificial ▁intelligence ▁assistant ."
    " ▁The ▁assistant ▁gives ▁helpful , ▁detailed , ▁and ▁polite ▁answers ▁to ▁the ▁user ' s ▁questions .",
}
EXPECTED = {
    ("qwen", "two turns about an image"): """
        <|im_start|> user Ċ <image> <image> Ċ What Ġis Ġthis ? <|im_end|> Ċ
        <|im_start|> assistant Ċ [A] [Ġred] [Ġcircle] [.] [<|im_end|>] Ċ
        <|im_start|> user Ċ How Ġmany ? <|im_end|> Ċ
        <|im_start|> assistant Ċ [Two] [<|im_end|>] Ċ""",
    ("qwen_next", "two turns about an image"): """
        [<|im_start|>] user [Ċ] <image> <image> [Ċ] What Ġis Ġthis ? [<|im_end|>] [Ċ]
        [<|im_start|>] [assistant] [Ċ] [A] [Ġred] [Ġcircle] [.] [<|im_end|>] [Ċ]
        [<|im_start|>] user [Ċ] How Ġmany ? [<|im_end|>] [Ċ]
        [<|im_start|>] [assistant] [Ċ] [Two] [<|im_end|>] [Ċ]""",
    # A space stands before the first text and before the text after an image, none after </s>.
    ("vicuna_v1", "two turns about an image"): """
        ▁US ER : ▁ <image> <image> ▁ <0x0A> What ▁is ▁this ? ▁ASSISTANT :
        [▁A] [▁red] [▁circle] [.] [</s>]
        USER : ▁How ▁many ? ▁ASSISTANT : [▁Two] [</s>]""",
    ("qwen", "text"): """
        <|im_start|> user Ċ How Ġmany ? <|im_end|> Ċ
        <|im_start|> assistant Ċ [Two] [.] [<|im_end|>] Ċ""",
    ("qwen_next", "text"): """
        [<|im_start|>] user [Ċ] How Ġmany ? [<|im_end|>] [Ċ]
        [<|im_start|>] [assistant] [Ċ] [Two] [.] [<|im_end|>] [Ċ]""",
    ("vicuna_v1", "text"): "▁US ER : ▁How ▁many ? ▁ASSISTANT : [▁Two] [.] [</s>]",
    ("qwen", "an empty answer"): """
        <|im_start|> user Ċ What ? <|im_end|> Ċ <|im_start|> assistant Ċ [<|im_end|>] Ċ""",
    ("qwen_next", "an empty answer"): """
        [<|im_start|>] user [Ċ] What ? [<|im_end|>] [Ċ]
        [<|im_start|>] [assistant] [Ċ] [<|im_end|>] [Ċ]""",
    ("vicuna_v1", "an empty answer"): "▁US ER : ▁What ? ▁ASSISTANT : [▁] [</s>]",
    # Only a newline that is a token of its own is supervised wherever it stands.
    ("qwen_next", "lines"): """
        [<|im_start|>] user [Ċ] What [Ċ] How ĊĊ Two ? [<|im_end|>] [Ċ]
        [<|im_start|>] [assistant] [Ċ] [A] [ĊĊ] [Two] [<|im_end|>] [Ċ]""",
    ("qwen", "lines"): """
        <|im_start|> user Ċ What Ċ How ĊĊ Two ? <|im_end|> Ċ
        <|im_start|> assistant Ċ [A] [ĊĊ] [Two] [<|im_end|>] Ċ""",
    ("qwen", "a prompt"): """
        <|im_start|> user Ċ <image> <image> Ċ How Ġmany ? <|im_end|> Ċ <|im_start|> assistant Ċ""",
    ("qwen_next", "a prompt"): """
        [<|im_start|>] user [Ċ] <image> <image> [Ċ] How Ġmany ? [<|im_end|>] [Ċ]
        [<|im_start|>] [assistant] [Ċ]""",
    ("vicuna_v1", "a prompt"): "▁US ER : ▁ <image> <image> ▁ <0x0A> How ▁many ? ▁ASSISTANT :",
}
CONVERSATIONS = {
    "two turns about an image": said(
        ("<image>\nWhat is this?", "A red circle."), ("How many?", "Two")
    ),
    "text": said(("How many?", "Two.")),
    "an empty answer": said(("What?", "")),
    "lines": said(("What\nHow\n\nTwo?", "A\n\nTwo")),
    "a prompt": said(("<image>\nHow many?", None)),
}


@pytest.mark.parametrize(("template", "name"), EXPECTED)
def test_token_by_token(tokenizers, template, name):
    tokenizer = tokenizers[FAMILIES[template]]
    encoded = encode(CONVERSATIONS[name], tokenizer, template, visual_tokens=2)
    expected = f"{SYSTEM[template]} {EXPECTED[template, name]}".split()
    assert shown(tokenizer, encoded) == expected


@pytest.mark.parametrize("template", FAMILIES)
@pytest.mark.parametrize(
    "question",
    [
        "What is this?\n<image>",
        "What <image>is this?",
        "<image>What is this?",
        " <image>\n\nWhat is this? ",
    ],
)
def test_the_image_comes_first_wherever_its_mark_stands(tokenizers, template, question):
    tokenizer = tokenizers[FAMILIES[template]]
    turns = said((question, "A red circle."), ("How many?", "Two"))
    moved = encode(turns, tokenizer, template, visual_tokens=2)
    assert moved == encode(
        CONVERSATIONS["two turns about an image"], tokenizer, template, visual_tokens=2
    )


@pytest.mark.parametrize("template", FAMILIES)
def test_a_cut_sample_learns_what_is_left_of_its_answer(tokenizers, template):
    tokenizer = tokenizers[FAMILIES[template]]
    turns = CONVERSATIONS["two turns about an image"]
    whole = encode(turns, tokenizer, template, visual_tokens=2)
    length = next(
        i for i, t in enumerate(shown(tokenizer, whole)) if t in ("[Ġcircle]", "[▁circle]")
    )
    cut = whole.truncate(length)
    assert shown(tokenizer, cut) == shown(tokenizer, whole)[:length]
    assert re.fullmatch(r"\[.red\]", shown(tokenizer, cut)[-1])


def test_stage_one_of_llava(tokenizers):
    """Visual tokens, caption, newline: no system prompt, no end mark, BOS where the LLM has one."""
    turns = said(("What is this?\n<image>", "A red circle."))
    for family, expected in (
        ("qwen", "<image> <image> [A] [Ġred] [Ġcircle] [.Ċ]"),
        ("vicuna", "<s> <image> <image> [▁A] [▁red] [▁circle] [.] [<0x0A>]"),
    ):
        encoded = encode(turns, tokenizers[family], "plain", visual_tokens=2)
        assert shown(tokenizers[family], encoded) == expected.split()


def test_a_tokenizer_with_a_space_after_each_mark_has_the_same_masks(tokenizers):
    """Older conversions of Llama's tokenizer (`legacy: true`) read on after </s> as after a space."""
    turns = CONVERSATIONS["two turns about an image"]
    tokenizer = tokenizers["vicuna_legacy"]
    encoded = encode(turns, tokenizer, "vicuna_v1", visual_tokens=2)
    expected = f"{SYSTEM['vicuna_v1']} {EXPECTED['vicuna_v1', 'two turns about an image']}".split()
    second = expected.index("USER")
    expected[second : second + 1] = ["▁US", "ER"]
    assert shown(tokenizer, encoded) == expected


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
        [(f"{IMAGE_TOKEN}\n{first.strip()}", answer), *rest],
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
    text += "".join(f"USER: {question} ASSISTANT: {answer}</s>" for question, answer in read)
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
    assert supervised == len(pairs) + of_others


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


def test_a_newline_that_an_answer_begins_with_is_the_headers_too(tokenizers):
    """As released: one token, which starts in the header and so is not part of the answer."""
    tokenizer = tokenizers["qwen"]
    encoded = encode(said(("What?", "\nTwo")), tokenizer, "qwen", visual_tokens=0)
    expected = f"{SYSTEM['qwen']} <|im_start|> user Ċ What ? <|im_end|> Ċ"
    expected += " <|im_start|> assistant ĊĊ [Two] [<|im_end|>] Ċ"
    assert shown(tokenizer, encoded) == expected.split()
