"""Conversations as tokens: templates, the image's place, supervised tokens and the question.

Text between images is tokenised in one piece, as the models were trained to read it. A token belongs to
the part of the conversation that its first character comes from, so no mask needs a search in text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerBase

from vlmscale.errors import UserError
from vlmscale.models.templates import TEMPLATES
from vlmscale.settings import IMAGE_TOKEN, PromptLayout

IGNORED = -100  # label of tokens without a loss
# The question of a conversation without one, as in the released QueCC code.
_NO_QUESTION = "image"

_Part = tuple[str, bool, int]  # of a conversation's text; is it supervised; its turn
Turns = Sequence[Mapping[str, str]]  # {"from": "human" | "gpt", "value": text}


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

    def select(self, positions: Sequence[int]) -> "Encoded":
        """Keep the tokens at `positions`."""
        return replace(
            self,
            input_ids=[self.input_ids[i] for i in positions],
            labels=[self.labels[i] for i in positions],
            turns=None if self.turns is None else [self.turns[i] for i in positions],
        )

    def truncate(self, length: int) -> "Encoded":
        """Keep the first `length` tokens."""
        return self.select(range(min(length, len(self.input_ids))))


def encode_all(
    conversations: Sequence[Turns],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    *,
    visual_tokens: int,
    query_turn: str | None = "first",
    apart: bool = False,
    rngs: Iterable[np.random.Generator | None] = repeat(None),
    layout: PromptLayout = "image_first",
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
    parts = [list(_write(turns, template, apart, layout)) for turns in conversations]
    marks = () if template == "plain" else TEMPLATES[template].supervised_marks
    tokens = _tokenise(parts, tokenizer, visual_tokens, marks)
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


def is_written_prompt(text: str, template: str) -> bool:
    """Return whether `text` has marks of `template`, so that nothing has to be put around it."""
    t = TEMPLATES[template]
    return any(mark and mark in text for mark in (t.system, t.answer_open, t.answer_close))


def encode_written_prompts(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    visual_tokens: int,
    reads_question: bool,
) -> list[Encoded]:
    """Tokenise prompts that `Template.write_jinja` wrote. The first human turn is the question.

    Raises UserError where a question is read and the template's marks do not say where it ends.
    """
    parts: list[list[_Part]] = [[(text, False, 0)] for text in texts]
    tokens = _tokenise(parts, tokenizer, visual_tokens, ())
    questions: list[list[int]] = [[] for _ in texts]
    if reads_question:
        t = TEMPLATES[template]
        opening, closing = map(re.escape, (t.human_open, t.human_close + t.answer_open))
        said = []
        for number, text in enumerate(texts):
            turn = re.search(f"{opening}(.*?){closing}", text, re.S) if closing else None
            if turn is None:
                raise UserError(
                    f"text {number}: where its question ends is not marked by the opening of an answer. "
                    "Use add_generation_prompt=True, or `processor.ask`."
                )
            said.append(_pick_question([{"from": "human", "value": turn[1]}], "first", None))
        questions = tokenizer(said)["input_ids"]
    return [
        Encoded(ids, labels, question)
        for (ids, labels, _), question in zip(tokens, questions, strict=True)
    ]


def truncate_visual_tokens(encoded: Encoded, image_id: int, visual_tokens: int) -> Encoded:
    """Keep the first `visual_tokens` image tokens of a sample, which has at least as many, or none."""
    images, kept = 0, []
    for position, token in enumerate(encoded.input_ids):
        images += token == image_id
        if token != image_id or images <= visual_tokens:
            kept.append(position)
    return encoded.select(kept)


def _write(turns: Turns, template: str, apart: bool, layout: PromptLayout) -> Iterator[_Part]:
    if template == "plain":
        for turn in turns:
            if turn["from"] == "gpt":
                yield turn["value"] + "\n", True, 0
            elif IMAGE_TOKEN in turn["value"]:
                yield IMAGE_TOKEN, False, 0
        return
    t = TEMPLATES[template]
    opening, number = t.system, 0
    for turn in turns:
        if turn["from"] == "gpt":
            # As released: where a space leads answers, there is none to learn if the answer is empty.
            answer = turn["value"].strip() if t.trims else turn["value"]
            if answer or not t.answer_lead:
                yield t.answer_lead + answer + t.answer_close, True, number
                yield t.answer_after, False, number
            continue
        said = turn["value"].strip() if t.trims else turn["value"]
        if not (t.keeps_leading_image and said.startswith(IMAGE_TOKEN) and layout == "image_first"):
            said = _place_image(said, layout)
        if apart:
            if number == 0:
                shared, newline, said = said.rpartition("\n")
                yield opening + t.human_open + shared + newline, False, 0
            number += 1
        else:
            said = opening + t.human_open + said
        yield said + t.human_close, False, number
        yield t.answer_open, bool(t.supervised_marks), number
        opening = ""


def _pick_question(turns: Turns, query_turn: str, rng: np.random.Generator | None) -> str:
    """Return one human turn, without the image's mark."""
    questions = [turn["value"] for turn in turns if turn["from"] == "human"]
    position = {"first": 0, "last": -1}.get(query_turn)
    if position is None:
        assert rng is not None
        position = int(rng.integers(len(questions)))
    return questions[position].replace(IMAGE_TOKEN, "").strip() or _NO_QUESTION


def _place_image(said: str, layout: PromptLayout) -> str:
    """Put the image of a human turn on a line of its own: the first, as LLaVA-1.5 does, or the last."""
    if IMAGE_TOKEN not in said:
        return said
    text = said.replace(IMAGE_TOKEN, "").strip()
    placed = f"{IMAGE_TOKEN}\n{text}" if layout == "image_first" else f"{text}\n{IMAGE_TOKEN}"
    return placed.strip()


def _tokenise(
    conversations: Sequence[Sequence[_Part]],
    tokenizer: PreTrainedTokenizerBase,
    visual_tokens: int,
    marks: Sequence[str],
) -> list[tuple[list[int], list[int], list[int]]]:
    """Return ids, labels and turns of each text; `<image>` becomes `visual_tokens` image tokens.

    marks: tokens that are always supervised.
    """
    pieces = ["".join(text for text, *_ in parts).split(IMAGE_TOKEN) for parts in conversations]
    # Skip the empty piece before an image that comes first. A tokenizer refuses an empty list.
    texts = [piece for cut in pieces for piece in cut if piece] or [" "]
    # The tokenizer's own call does the same, and builds lists that nobody reads.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    # Sentencepiece puts a space before every text. Its fast form leaves one out that begins with a space,
    # which the released models were not trained on.
    lacks = (
        isinstance(backend.pre_tokenizer, Metaspace)
        and backend.pre_tokenizer.prepend_scheme == "first"
    )
    added = [int(lacks and text.startswith(" ")) for text in texts]
    texts = [" " * space + text for space, text in zip(added, texts, strict=True)]
    tokenised = zip(backend.encode_batch(texts, add_special_tokens=False), added, strict=True)
    always = {i for mark in marks for i in backend.encode(mark, add_special_tokens=False).ids}
    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    # Not every tokenizer that names a BOS token begins texts with it.
    first = [i for i in tokenizer("")["input_ids"][:1] if i == tokenizer.bos_token_id]
    encoded = []
    for parts, cut in zip(conversations, pieces, strict=True):
        supervised, turn_at = [], []  # by character
        for written, is_supervised, turn in parts:
            supervised += [is_supervised] * len(written)
            turn_at += [turn] * len(written)
        ids, labels, turns = list(first), [IGNORED] * len(first), [0] * len(first)
        start = 0  # of the piece within the text
        for piece in cut:
            if start:
                ids += [image_id] * visual_tokens
                labels += [IGNORED] * visual_tokens
                turns += [turn_at[start - 1]] * visual_tokens
            if piece:
                encoding, space = next(tokenised)
                begins = [start + max(begin - space, 0) for begin, _ in encoding.offsets]
                ids += encoding.ids
                labels += [
                    token if supervised[begin] or token in always else IGNORED
                    for token, begin in zip(encoding.ids, begins, strict=True)
                ]
                turns += [turn_at[begin] for begin in begins]
            start += len(piece) + len(IMAGE_TOKEN)
        encoded.append((ids, labels, turns))
    return encoded
