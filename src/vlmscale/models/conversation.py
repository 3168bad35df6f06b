"""Conversations as tokens: templates, the image's place, supervised tokens and the question.

Text between images is tokenised in one piece, as the models were trained to read it. A token belongs to
the part of the conversation that its first character comes from, so no mask needs a search in text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from vlmscale.settings import IMAGE_TOKEN

IGNORED = -100  # label of tokens without a loss
# The question of a conversation without one, as in the released QueCC code.
_NO_QUESTION = "image"

Turns = Sequence[Mapping[str, str]]  # {"from": "human" | "gpt", "value": text}
# What comes first in the turn with the image: the image, as in LLaVA, or the text, which can then be
# computed before there is an image (prompt_cache.py).
Layout = Literal["image_first", "text_first"]


@dataclass(frozen=True, kw_only=True)
class Template:
    """Fixed strings around what the human and the assistant say, in their order.

    A prompt ends with `answer_open`. `answer_lead` and `answer_close` are supervised with the answer:
    the model learns to stop by the second.
    """

    system: str = ""
    human_open: str = ""
    human_close: str = ""
    answer_open: str = ""
    answer_lead: str = ""
    answer_close: str
    answer_after: str = ""
    # Tokens that are always supervised. If there are any, `answer_open` is supervised, too.
    supervised_marks: tuple[str, ...] = ()

    @property
    def strings(self) -> tuple[str, ...]:
        """Return all text that the template adds."""
        return (
            self.system,
            self.human_open,
            self.human_close,
            self.answer_open,
            self.answer_lead,
            self.answer_close,
            self.answer_after,
        )


_QWEN = Template(
    system="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    human_open="<|im_start|>user\n",
    human_close="<|im_end|>\n",
    answer_open="<|im_start|>assistant\n",
    answer_close="<|im_end|>",
    answer_after="\n",
)

TEMPLATES = {
    # For the tiny LLMs that a study trains: questions of the generated world end with a mark of their
    # own, so only the answer's end is marked. The space keeps question and answer two words.
    "qa": Template(answer_lead=" ", answer_close="<eos>"),
    # ChatML with Qwen's default system prompt.
    "qwen": _QWEN,
    # The same tokens with the loss of the LLaVA-NeXT code.
    "qwen_next": replace(_QWEN, supervised_marks=("<|im_start|>", "<|im_end|>", "\n")),
    # Vicuna 1.1 and later, as in LLaVA-1.5.
    "vicuna_v1": Template(
        system="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. ",
        human_open="USER: ",
        answer_open=" ASSISTANT:",
        answer_lead=" ",
        answer_close="</s>",
    ),
}


@dataclass(frozen=True)
class Encoded:
    """One sample as token ids. An image is the image token's id, once per visual token.

    turns: if turns do not attend to each other, each token's turn, 0 for what all turns share; None if
    each turn attends to those before it.
    """

    input_ids: list[int]
    labels: list[int]
    question_ids: list[int]
    turns: list[int] | None = None

    def truncate(self, length: int) -> "Encoded":
        """Keep the first `length` tokens."""
        if len(self.input_ids) <= length:
            return self
        turns = None if self.turns is None else self.turns[:length]
        return Encoded(self.input_ids[:length], self.labels[:length], self.question_ids, turns)


def encode_all(
    conversations: Sequence[Turns],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    *,
    visual_tokens: int,
    query_turn: str | None = "first",
    apart: bool = False,
    rngs: Iterable[np.random.Generator | None] = repeat(None),
    layout: Layout = "image_first",
) -> list[Encoded]:
    """Tokenise conversations, in one call of the tokenizer, which is faster.

    template: a name in TEMPLATES, or "plain" for stage 1 of LLaVA-1.5: visual tokens, answer, newline,
    without the human's text. In the others the image has a line of its own in its turn, the first
    or the last (`layout`). A conversation that ends with a human turn is a prompt: it ends with the
    opening of the answer. query_turn: which human turn is the question, "first", "last" or "random"
    (needs `rngs`, one each); None if the method does not read it.

    apart: treat each question as the only one. All turns share what the first human turn says before
    its last line (an image, a text to read); no turn attends to another. Has no meaning for "plain".
    """
    if not conversations:
        return []
    texts = [_write_text(turns, template, apart, layout) for turns in conversations]
    tokens = _tokenise(texts, tokenizer, visual_tokens)
    marks = () if template == "plain" else TEMPLATES[template].supervised_marks
    if marks:
        mark_ids = tokenizer(list(marks), add_special_tokens=False)["input_ids"]
        always = {token for ids in mark_ids for token in ids}
        tokens = [
            (
                ids,
                [t if t in always else label for t, label in zip(ids, labels, strict=True)],
                turns,
            )
            for ids, labels, turns in tokens
        ]
    questions: list[list[int]] = [[] for _ in conversations]
    if query_turn is not None:
        texts_of_questions = [
            _pick_question(turns, query_turn, rng)
            for turns, rng in zip(conversations, rngs, strict=False)
        ]
        questions = tokenizer(texts_of_questions)["input_ids"]
    return [
        Encoded(ids, labels, question, turns if apart else None)
        for (ids, labels, turns), question in zip(tokens, questions, strict=True)
    ]


def truncate_visual_tokens(encoded: Encoded, image_id: int, visual_tokens: int) -> Encoded:
    """Keep the first `visual_tokens` image tokens of a sample, which has at least as many, or none."""
    images, kept = 0, []
    for position, token in enumerate(encoded.input_ids):
        images += token == image_id
        if token != image_id or images <= visual_tokens:
            kept.append(position)
    return Encoded(
        [encoded.input_ids[i] for i in kept],
        [encoded.labels[i] for i in kept],
        encoded.question_ids,
        None if encoded.turns is None else [encoded.turns[i] for i in kept],
    )


class _Text:
    """A conversation's text, with each character's turn and whether it is supervised."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.supervised: list[bool] = []
        self.turns: list[int] = []

    def add(self, text: str, supervised: bool, turn: int = 0) -> None:
        self.parts.append(text)
        self.supervised += [supervised] * len(text)
        self.turns += [turn] * len(text)


def _write_text(turns: Turns, template: str, apart: bool, layout: Layout) -> _Text:
    text = _Text()
    if template == "plain":
        for turn in turns:
            if turn["from"] == "gpt":
                text.add(turn["value"] + "\n", True)
            elif IMAGE_TOKEN in turn["value"]:
                text.add(IMAGE_TOKEN, False)
        return text
    t = TEMPLATES[template]
    opening, number = t.system, 0
    for turn in turns:
        if turn["from"] == "gpt":
            text.add(t.answer_lead + turn["value"] + t.answer_close, True, number)
            text.add(t.answer_after, False, number)
            continue
        said = _place_image(turn["value"], layout)
        if apart:
            if number == 0:
                shared, newline, said = said.rpartition("\n")
                text.add(opening + t.human_open + shared + newline, False, 0)
            number += 1
        else:
            said = opening + t.human_open + said
        text.add(said + t.human_close, False, number)
        text.add(t.answer_open, bool(t.supervised_marks), number)
        opening = ""
    return text


def _pick_question(turns: Turns, query_turn: str, rng: np.random.Generator | None) -> str:
    """Return one human turn, without the image's mark."""
    questions = [turn["value"] for turn in turns if turn["from"] == "human"]
    position = {"first": 0, "last": -1}.get(query_turn)
    if position is None:
        assert rng is not None
        position = int(rng.integers(len(questions)))
    return questions[position].replace(IMAGE_TOKEN, "").strip() or _NO_QUESTION


def _place_image(said: str, layout: Layout) -> str:
    """Put the image of a human turn on a line of its own: the first, as LLaVA-1.5 does, or the last."""
    if IMAGE_TOKEN not in said:
        return said
    text = said.replace(IMAGE_TOKEN, "").strip()
    return f"{IMAGE_TOKEN}\n{text}" if layout == "image_first" else f"{text}\n{IMAGE_TOKEN}"


def _tokenise(
    conversations: Sequence[_Text],
    tokenizer: PreTrainedTokenizerBase,
    visual_tokens: int,
) -> list[tuple[list[int], list[int], list[int]]]:
    """Return ids, labels and turns of each text; `<image>` becomes `visual_tokens` image tokens."""
    pieces = ["".join(text.parts).split(IMAGE_TOKEN) for text in conversations]
    # Skip the empty piece before an image that comes first. A tokenizer refuses an empty list.
    texts = [piece for cut in pieces for piece in cut if piece] or [" "]
    # The tokenizer's own call does the same, and builds lists that nobody reads.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    tokenised = iter(backend.encode_batch(texts, add_special_tokens=False))
    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    first = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    encoded = []
    for text, cut in zip(conversations, pieces, strict=True):
        ids, labels, turns = list(first), [IGNORED] * len(first), [0] * len(first)
        start = 0  # of the piece within the text
        for piece in cut:
            if start:
                ids += [image_id] * visual_tokens
                labels += [IGNORED] * visual_tokens
                turns += [text.turns[start - 1]] * visual_tokens
            if piece:
                encoding = next(tokenised)
                begins = [start + begin for begin, _ in encoding.offsets]
                ids += encoding.ids
                labels += [
                    token if text.supervised[begin] else IGNORED
                    for token, begin in zip(encoding.ids, begins, strict=True)
                ]
                turns += [text.turns[begin] for begin in begins]
            start += len(piece) + len(IMAGE_TOKEN)
        encoded.append((ids, labels, turns))
    return encoded
