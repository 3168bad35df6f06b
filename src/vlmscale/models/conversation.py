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
    # Compact, for tiny LLMs that the study trains itself.
    "qa": Template("", "Q: ", "\n", "A: ", "<eos>\n"),
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
    """One sample as token ids; visual tokens are `visual_tokens` times the image token's id."""

    input_ids: list[int]
    labels: list[int]
    question_ids: list[int]


def encode(
    turns: Turns,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    *,
    visual_tokens: int,
    query_turn: str = "first",
    rng: np.random.Generator | None = None,
) -> Encoded:
    """Tokenise a conversation.

    template: a name in TEMPLATES, or "plain" for stage 1 of LLaVA-1.5: visual tokens, answer, newline;
    what the human says is left out. A conversation that ends with a human turn is a prompt: it
    closes with the opening of the answer and has no labels there. `query_turn` says which human turn is
    the question ("first", "last", "random"; the last needs `rng`).
    """
    segments: list[tuple[str, bool]] = []  # text, whether it is learned
    if template == "plain":
        for turn in turns:
            if turn["from"] == "gpt":
                segments.append((turn["value"] + "\n", True))
            elif IMAGE_TOKEN in turn["value"]:
                segments.append((IMAGE_TOKEN, False))
    else:
        t = TEMPLATES[template]
        opening = t.system
        for turn in turns:
            if turn["from"] == "gpt":
                segments.append((turn["value"] + t.answer_close, True))
            else:
                frame = (opening, t.human_open, turn["value"], t.human_close, t.answer_open)
                segments.append(("".join(frame), False))
                opening = ""
    ids, labels = _tokenise(segments, tokenizer, visual_tokens)
    questions = [turn["value"] for turn in turns if turn["from"] == "human"]
    position = {"first": 0, "last": -1}.get(query_turn)
    if position is None:
        assert rng is not None
        position = int(rng.integers(len(questions)))
    question = questions[position].replace(IMAGE_TOKEN, "").strip() or _NO_QUESTION
    return Encoded(ids, labels, tokenizer.encode(question))


def with_visual_tokens(encoded: Encoded, image_id: int, visual_tokens: int) -> Encoded:
    """The sample with the first `visual_tokens` of its image tokens; it must have as many, or none."""
    seen = 0
    ids, labels = [], []
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        seen += token == image_id
        if token != image_id or seen <= visual_tokens:
            ids.append(token)
            labels.append(label)
    return Encoded(ids, labels, encoded.question_ids)


def _tokenise(
    segments: Sequence[tuple[str, bool]], tokenizer: PreTrainedTokenizerBase, visual_tokens: int
) -> tuple[list[int], list[int]]:
    """Ids and labels of text segments; each `<image>` becomes `visual_tokens` image tokens."""
    pieces = [
        (piece, learned, i > 0)
        for text, learned in segments
        for i, piece in enumerate(text.split(IMAGE_TOKEN))
    ]
    # One call for the whole conversation: the tokenizer's overhead is in the calls.
    encoded = tokenizer([piece for piece, _, _ in pieces], add_special_tokens=False)["input_ids"]
    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    ids = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    labels = [IGNORED] * len(ids)
    for (_, learned, after_image), tokens in zip(pieces, encoded, strict=True):
        if after_image:
            ids += [image_id] * visual_tokens
            labels += [IGNORED] * visual_tokens
        ids += tokens
        labels += tokens if learned else [IGNORED] * len(tokens)
    return ids, labels
