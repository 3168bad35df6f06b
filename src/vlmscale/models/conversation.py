"""Conversations as tokens: templates, the place of the image, which tokens are learned, and the question.

What is learned and what is not is tokenised apart, so the span of each answer is known and masks are
never found again by searching text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from vlmscale.settings import IMAGE_TOKEN

IGNORED = -100  # label of tokens without a loss
# What stands for the question when there is none, as in the released QueCC code.
_NO_QUESTION = "image"

Turns = Sequence[Mapping[str, str]]  # {"from": "human" | "gpt", "value": text}


@dataclass(frozen=True)
class Template:
    """Fixed strings around what the human and the assistant say.

    `answer_close` is learned with the answer: it is how the model learns to stop.
    """

    system: str
    human_open: str
    human_close: str
    answer_open: str
    answer_close: str


TEMPLATES = {
    # Nothing but the end of an answer, for tiny LLMs that the study trains itself: the questions of the
    # generated world end with a mark of their own.
    "qa": Template("", "", "", "", "<eos>"),
    # Qwen's, with its default system prompt.
    "chatml": Template(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
        "<|im_start|>user\n",
        "<|im_end|>\n",
        "<|im_start|>assistant\n",
        "<|im_end|>\n",
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

    def cut(self, length: int) -> "Encoded":
        """The first `length` tokens."""
        turns = None if self.turns is None else self.turns[:length]
        return Encoded(self.input_ids[:length], self.labels[:length], self.question_ids, turns)


def encode(
    turns: Turns,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    *,
    visual_tokens: int,
    query_turn: str = "first",
    apart: bool = False,
    rng: np.random.Generator | None = None,
) -> Encoded:
    """Tokenise a conversation.

    template: a name in TEMPLATES, or "plain" for stage 1 of LLaVA-1.5: visual tokens, answer, newline;
    what the human says is left out. A conversation that ends with a human turn is a prompt: it
    closes with the opening of the answer and has no labels there. `query_turn` says which human turn is
    the question ("first", "last", "random"; the last needs `rng`).

    apart: each question is asked as if it were the only one. What the first human turn says before its
    last line (an image, a text to read) is shared by all, and no turn sees another. Meaningless for
    "plain".
    """
    segments: list[_Segment] = []
    if template == "plain":
        for turn in turns:
            if turn["from"] == "gpt":
                segments.append(_Segment(turn["value"] + "\n", True))
            elif IMAGE_TOKEN in turn["value"]:
                segments.append(_Segment(IMAGE_TOKEN, False))
    else:
        t = TEMPLATES[template]
        opening, number = t.system, 0
        for turn in turns:
            if turn["from"] == "gpt":
                segments.append(_Segment(turn["value"] + t.answer_close, True, number))
                continue
            said = turn["value"]
            if apart:
                if number == 0:
                    shared, newline, said = said.rpartition("\n")
                    segments.append(_Segment(opening + t.human_open + shared + newline, False, 0))
                number += 1
            else:
                said = opening + t.human_open + said
            segments.append(_Segment(said + t.human_close + t.answer_open, False, number))
            opening = ""
    ids, labels, belongs = _tokenise(segments, tokenizer, visual_tokens)
    questions = [turn["value"] for turn in turns if turn["from"] == "human"]
    position = {"first": 0, "last": -1}.get(query_turn)
    if position is None:
        assert rng is not None
        position = int(rng.integers(len(questions)))
    question = questions[position].replace(IMAGE_TOKEN, "").strip() or _NO_QUESTION
    return Encoded(ids, labels, tokenizer.encode(question), belongs if apart else None)


def with_visual_tokens(encoded: Encoded, image_id: int, visual_tokens: int) -> Encoded:
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


@dataclass(frozen=True)
class _Segment:
    text: str
    learned: bool
    turn: int = 0


def _tokenise(
    segments: Sequence[_Segment], tokenizer: PreTrainedTokenizerBase, visual_tokens: int
) -> tuple[list[int], list[int], list[int]]:
    """Ids, labels and turns of text segments; each `<image>` becomes `visual_tokens` image tokens."""
    pieces = [
        (piece, segment, i > 0)
        for segment in segments
        for i, piece in enumerate(segment.text.split(IMAGE_TOKEN))
    ]
    # One call for the whole conversation: the tokenizer's overhead is in the calls.
    encoded = tokenizer([piece for piece, _, _ in pieces], add_special_tokens=False)["input_ids"]
    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    ids = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    labels, turns = [IGNORED] * len(ids), [0] * len(ids)
    for (_, segment, after_image), tokens in zip(pieces, encoded, strict=True):
        image = [image_id] * visual_tokens if after_image else []
        ids += image + tokens
        labels += [IGNORED] * len(image)
        labels += tokens if segment.learned else [IGNORED] * len(tokens)
        turns += [segment.turn] * (len(image) + len(tokens))
    return ids, labels, turns
