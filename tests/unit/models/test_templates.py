"""The templates of Qwen and Vicuna token by token, on small tokenizers of their form.

In the expectations `[token]` is supervised, `token` is not; `Ġ` and `▁` stand for a space, `Ċ` and `<0x0A>`
for a newline.
"""

import re

import pytest

from tests.support.conversations import FAMILIES, said
from tests.support.samples import encode
from vlmscale.models.conversation import IGNORED
from vlmscale.settings import IMAGE_TOKEN


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
    # The released code writes no end after an empty answer, and learns nothing of it.
    ("vicuna_v1", "an empty answer"): "▁US ER : ▁What ? ▁ASSISTANT :",
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
    if template == "qwen_next" and question.startswith(IMAGE_TOKEN):
        # LLaVA-NeXT's code leaves such a turn alone.
        assert "<image> What" in " ".join(shown(tokenizer, moved))
        return
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


def test_a_newline_that_an_answer_begins_with_is_the_headers_too(tokenizers):
    """As released: one token, which starts in the header and so is not part of the answer."""
    tokenizer = tokenizers["qwen"]
    encoded = encode(said(("What?", "\nTwo")), tokenizer, "qwen", visual_tokens=0)
    expected = f"{SYSTEM['qwen']} <|im_start|> user Ċ What ? <|im_end|> Ċ"
    expected += " <|im_start|> assistant ĊĊ [Two] [<|im_end|>] Ċ"
    assert shown(tokenizer, encoded) == expected.split()
