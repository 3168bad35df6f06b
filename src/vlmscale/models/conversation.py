"""Conversations as tokens: templates, the place of the image, which tokens are learned, and the question.

Every piece of a conversation is tokenised on its own, so the span of each answer is known and masks are
never found again by searching text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

IMAGE_TOKEN = "<image>"
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
    ids: list[int] = []
    labels: list[int] = []

    def add(text: str, *, learned: bool = False) -> None:
        pieces = text.split(IMAGE_TOKEN)
        for i, piece in enumerate(pieces):
            if i:
                ids.extend([image_id] * visual_tokens)
                labels.extend([IGNORED] * visual_tokens)
            tokens = tokenizer.encode(piece, add_special_tokens=False) if piece else []
            ids.extend(tokens)
            labels.extend(tokens if learned else [IGNORED] * len(tokens))

    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    if tokenizer.bos_token_id is not None:
        ids.append(tokenizer.bos_token_id)
        labels.append(IGNORED)
    if template == "plain":
        for turn in turns:
            if turn["from"] == "human":
                add(IMAGE_TOKEN if IMAGE_TOKEN in turn["value"] else "")
            else:
                add(turn["value"] + "\n", learned=True)
    else:
        t = TEMPLATES[template]
        add(t.system)
        for turn in turns:
            if turn["from"] == "human":
                add(t.human_open)
                add(turn["value"])
                add(t.human_close)
                add(t.answer_open)
            else:
                add(turn["value"] + t.answer_close, learned=True)
    questions = [turn["value"] for turn in turns if turn["from"] == "human"]
    position = {"first": 0, "last": -1}.get(query_turn)
    if position is None:
        assert rng is not None
        position = int(rng.integers(len(questions)))
    question = questions[position].replace(IMAGE_TOKEN, "").strip() or _NO_QUESTION
    return Encoded(ids, labels, tokenizer.encode(question))
