"""Images, questions and conversations to model inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, LlavaProcessor, PreTrainedTokenizerBase

from vlmscale.models.conversation import IGNORED, Encoded, Layout, encode_all
from vlmscale.models.pixels import to_pixels
from vlmscale.settings import Aspect

# b sequences, i images in the batch (i <= b: a sequence may have none), t tokens, q question tokens


class VlmProcessor(LlavaProcessor):
    """Makes model inputs of images and questions. docs/upstream.md lists what it replaces."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        visual_tokens: int = 1,
        template: str = "qa",
        reads_question: bool = False,
        aspect: Aspect = "pad",
        **kwargs: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)
        self.visual_tokens = visual_tokens
        self.template = template
        self.reads_question = reads_question
        self.aspect: Aspect = aspect

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs: Any) -> str:
        return str(self.image_token) * self.visual_tokens

    def to_pixels(self, images: Sequence[Any]) -> Tensor:
        """Convert PIL images to pixels (i, 3, h, w)."""
        return to_pixels(images, self.image_processor, self.aspect)

    def ask(
        self,
        images: list[Any],
        questions: list[str],
        *,
        pixels: bool = True,
        layout: Layout = "image_first",
    ) -> BatchFeature:
        """Make the inputs of generate() for one question each, with one image or None.

        layout: whether the image or the text comes first; in training the image does. Returns input_ids,
        attention_mask (b, t), padded on the left; pixel_values (i, 3, h, w) if there is an image; and
        question_input_ids, question_attention_mask (i, q) if the method reads the question. With
        pixels=False the caller adds stored features.
        """
        has_image = [image is not None for image in images]
        given = [image for image in images if image is not None]
        inputs = pad_batch(
            self._encode_prompts(questions, has_image, layout),
            has_image,
            self.tokenizer,
            reads_question=self.reads_question,
            side="left",
        )
        inputs.pop("labels")
        if given and pixels:
            inputs["pixel_values"] = self.to_pixels(given)
        return BatchFeature(inputs)

    def encode_prompt(self, question: str, layout: Layout) -> Encoded:
        """Tokenise one question with an image's placeholders, up to its answer."""
        return self._encode_prompts([question], [True], layout)[0]

    def _encode_prompts(
        self, questions: Sequence[str], has_image: Sequence[bool], layout: Layout
    ) -> list[Encoded]:
        texts = [
            f"{self.image_token}\n{question}" if image else question
            for question, image in zip(questions, has_image, strict=True)
        ]
        return encode_all(
            [[{"from": "human", "value": text}] for text in texts],
            self.tokenizer,
            self.template,
            visual_tokens=self.visual_tokens,
            query_turn="first" if self.reads_question else None,
            layout=layout,
        )


def pad_batch(
    encoded: list[Encoded],
    has_image: list[bool],
    tokenizer: PreTrainedTokenizerBase,
    *,
    reads_question: bool,
    side: str,
) -> dict[str, Tensor]:
    """Pad sequences on `side` ("left", "right"), and questions, one per image, on the right.

    attention_mask is (b, t). If turns do not attend to each other it is (b, 1, t, t), with position_ids
    (b, t); then pad on the right.
    """
    batch = {
        "input_ids": _pad([e.input_ids for e in encoded], tokenizer.pad_token_id, side),
        "labels": _pad([e.labels for e in encoded], IGNORED, side),
    }
    if encoded[0].turns is None:
        batch["attention_mask"] = _pad([[1] * len(e.input_ids) for e in encoded], 0, side)
    else:
        batch |= _separate_turns(_pad([e.turns or [] for e in encoded], -1, side))
    questions = [e.question_ids for e, image in zip(encoded, has_image, strict=True) if image]
    if reads_question and questions:
        ones = [[1] * len(question) for question in questions]
        batch["question_input_ids"] = _pad(questions, tokenizer.pad_token_id, "right")
        batch["question_attention_mask"] = _pad(ones, 0, "right")
    return batch


def _pad(rows: Sequence[Sequence[int]], filler: int, side: str) -> Tensor:
    """Fill rows up to the longest one on `side`."""
    length = max(map(len, rows))
    padded = np.full((len(rows), length), filler)
    for line, row in zip(padded, rows, strict=True):
        start = length - len(row) if side == "left" else 0
        line[start : start + len(row)] = row
    return torch.from_numpy(padded)


def _separate_turns(own: Tensor) -> dict[str, Tensor]:
    """Make mask and positions with which each turn attends to itself and turn 0 only.

    own (b, t): each token's turn, -1 for padding.
    """
    length = own.shape[1]
    shared = own == 0
    related = shared[:, None, :] | (own[:, :, None] == own[:, None, :])
    mask = related & torch.ones(length, length, dtype=torch.bool).tril()
    place = torch.arange(length).expand_as(own)
    begins = torch.ones_like(shared)
    begins[:, 1:] = own[:, 1:] != own[:, :-1]
    start = torch.where(begins, place, 0).cummax(dim=1).values
    positions = place - start + torch.where(shared, 0, shared.sum(dim=1, keepdim=True))
    return {"attention_mask": mask[:, None], "position_ids": positions}
