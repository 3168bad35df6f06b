"""Conversations as tokens: templates, the place of the image, which tokens are learned, and the question.

Text between images is tokenised whole, as the models were trained to read it, and each token belongs to
the part of the conversation that its first character is from. So masks are never found by searching
text or by counting the tokens of fragments.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from vlmscale.settings import IMAGE_TOKEN

IGNORED = -100  # label of tokens without a loss
# What stands for the question when there is none, as in the released QueCC code.
_NO_QUESTION = "image"

Turns = Sequence[Mapping[str, str]]  # {"from": "human" | "gpt", "value": text}
# What stands first in the turn that shows the image: it, as LLaVA has it, or the text, which then can be
# computed before there is an image (prompt_cache.py).
Layout = Literal["image_first", "text_first"]


@dataclass(frozen=True, kw_only=True)
class Template:
    """Fixed strings around what the human and the assistant say, in the order in which they stand.

    A prompt ends with `answer_open`. `answer_lead` and `answer_close` are learned with the answer: the
    first is what an answer begins with, the second how the model learns to stop.
    """

    system: str = ""
    human_open: str = ""
    human_close: str = ""
    answer_open: str = ""
    answer_lead: str = ""
    answer_close: str
    answer_after: str = ""
    # Tokens that are learned wherever they stand; where there are any, `answer_open` is learned, too.
    learned_marks: tuple[str, ...] = ()

    @property
    def strings(self) -> tuple[str, ...]:
        """All text that the template adds to what is said."""
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
    # Nothing but the end of an answer, for tiny LLMs that the study trains itself: the questions of the
    # generated world end with a mark of their own. The space keeps question and answer from being one word.
    "qa": Template(answer_lead=" ", answer_close="<eos>"),
    # ChatML with Qwen's default system prompt.
    "qwen": _QWEN,
    # The same tokens with the loss of the LLaVA-NeXT code.
    "qwen_next": replace(_QWEN, learned_marks=("<|im_start|>", "<|im_end|>", "\n")),
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
    """One sample as token ids; visual tokens are `visual_tokens` times the image token's id.

    turns: for each token the turn it belongs to, 0 for what all turns share, when the turns do not see
    each other; None when each sees those before it.
    """

    input_ids: list[int]
    labels: list[int]
    question_ids: list[int]
    turns: list[int] | None = None

    def truncate(self, length: int) -> "Encoded":
        """The first `length` tokens."""
        if len(self.input_ids) <= length:
            return self
        turns = None if self.turns is None else self.turns[:length]
        return Encoded(self.input_ids[:length], self.labels[:length], self.question_ids, turns)


def encode(
    turns: Turns,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    *,
    visual_tokens: int,
    query_turn: str | None = "first",
    apart: bool = False,
    rng: np.random.Generator | None = None,
    layout: Layout = "image_first",
) -> Encoded:
    """Tokenise a conversation.

    template: a name in TEMPLATES, or "plain" for stage 1 of LLaVA-1.5: visual tokens, answer, newline;
    what the human says is left out. With the others the image comes first in the turn that shows it
    (`layout`: or last), on a line of its own, wherever its mark stands. A conversation that ends with a
    human turn is a prompt: it closes with the opening of the answer. `query_turn` says which human turn
    is the question ("first", "last", "random"; the last needs `rng`), None that nobody reads it.

    apart: each question is asked as if it were the only one. What the first human turn says before its
    last line (an image, a text to read) is shared by all, and no turn sees another. Meaningless for
    "plain".
    """
    (encoded,) = encode_all(
        [turns],
        tokenizer,
        template,
        visual_tokens=visual_tokens,
        query_turn=query_turn,
        apart=apart,
        rngs=[rng],
        layout=layout,
    )
    return encoded


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
    """`encode` of each conversation, at once: half of a tokenizer's time is in being called."""
    if not conversations:
        return []
    texts = [_text(turns, template, apart, layout) for turns in conversations]
    tokens = _tokenise(texts, tokenizer, visual_tokens)
    marks = () if template == "plain" else TEMPLATES[template].learned_marks
    if marks:
        known = tokenizer(list(marks), add_special_tokens=False)["input_ids"]
        always = {token for mark in known for token in mark}
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
        asked = [_question(t, query_turn, rng) for t, rng in zip(conversations, rngs, strict=False)]
        questions = tokenizer(asked)["input_ids"]
    return [
        Encoded(ids, labels, question, turns if apart else None)
        for (ids, labels, turns), question in zip(tokens, questions, strict=True)
    ]


def truncate_visual_tokens(encoded: Encoded, image_id: int, visual_tokens: int) -> Encoded:
    """The sample with the first `visual_tokens` of its image tokens; it must have as many, or none."""
    seen, kept = 0, []
    for position, token in enumerate(encoded.input_ids):
        seen += token == image_id
        if token != image_id or seen <= visual_tokens:
            kept.append(position)
    return Encoded(
        [encoded.input_ids[i] for i in kept],
        [encoded.labels[i] for i in kept],
        encoded.question_ids,
        None if encoded.turns is None else [encoded.turns[i] for i in kept],
    )


class _Text:
    """What a conversation says, and of each character whether it is learned and whose turn it is."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.learned: list[bool] = []
        self.turns: list[int] = []

    def add(self, text: str, learned: bool, turn: int = 0) -> None:
        self.parts.append(text)
        self.learned += [learned] * len(text)
        self.turns += [turn] * len(text)


def _text(turns: Turns, template: str, apart: bool, layout: Layout) -> _Text:
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
        said = _image_placed(turn["value"], layout)
        if apart:
            if number == 0:
                shared, newline, said = said.rpartition("\n")
                text.add(opening + t.human_open + shared + newline, False, 0)
            number += 1
        else:
            said = opening + t.human_open + said
        text.add(said + t.human_close, False, number)
        text.add(t.answer_open, bool(t.learned_marks), number)
        opening = ""
    return text


def _question(turns: Turns, query_turn: str, rng: np.random.Generator | None) -> str:
    """What the human asks, without the image's mark."""
    questions = [turn["value"] for turn in turns if turn["from"] == "human"]
    position = {"first": 0, "last": -1}.get(query_turn)
    if position is None:
        assert rng is not None
        position = int(rng.integers(len(questions)))
    return questions[position].replace(IMAGE_TOKEN, "").strip() or _NO_QUESTION


def _image_placed(said: str, layout: Layout) -> str:
    """What a human says, with the image on a line of its own: the first, as LLaVA-1.5 does, or the last."""
    if IMAGE_TOKEN not in said:
        return said
    text = said.replace(IMAGE_TOKEN, "").strip()
    return f"{IMAGE_TOKEN}\n{text}" if layout == "image_first" else f"{text}\n{IMAGE_TOKEN}"


def _tokenise(
    conversations: Sequence[_Text],
    tokenizer: PreTrainedTokenizerBase,
    visual_tokens: int,
) -> list[tuple[list[int], list[int], list[int]]]:
    """Ids, labels and turns of each text; `<image>` becomes `visual_tokens` image tokens.

    A token is what its first character is.
    """
    pieces = ["".join(text.parts).split(IMAGE_TOKEN) for text in conversations]
    # An image that stands first has an empty piece before it, which would cost a text's handling. A
    # tokenizer refuses an empty list.
    texts = [piece for cut in pieces for piece in cut if piece] or [" "]
    # What the tokenizer's own call does, without the lists that nobody reads.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    tokenised = iter(backend.encode_batch(texts, add_special_tokens=False))
    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    first = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    found = []
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
                learned = [text.learned[begin] for begin in begins]
                tokens = encoding.ids
                ids += tokens
                labels += [t if own else IGNORED for t, own in zip(tokens, learned, strict=True)]
                turns += [text.turns[begin] for begin in begins]
            start += len(piece) + len(IMAGE_TOKEN)
        found.append((ids, labels, turns))
    return found
