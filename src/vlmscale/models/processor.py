"""From images, questions and conversations to the tensors a model takes."""

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
    """Images and questions to model inputs."""

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
        """Pixels (i, 3, h, w) of PIL images."""
        return to_pixels(images, self.image_processor, self.aspect)

    def ask(
        self,
        images: list[Any],
        questions: list[str],
        *,
        pixels: bool = True,
        layout: Layout = "image_first",
    ) -> BatchFeature:
        """Inputs of generate() for one image (or None) and one question each; without `pixels` the caller
        adds stored features in their place.

        layout: whether the image or the text comes first; trainings see the image first. input_ids,
        attention_mask (b, t), padded on the left; pixel_values (i, 3, h, w) when there is an image;
        question_input_ids, question_attention_mask (i, q) when the method reads the question.
        """
        prompts = self._prompts(questions, [image is not None for image in images], layout)
        given = [image for image in images if image is not None]
        inputs = pad_batch(
            prompts,
            [image is not None for image in images],
            self.tokenizer,
            reads_question=self.reads_question,
            side="left",
        )
        inputs.pop("labels")
        if given and pixels:
            inputs["pixel_values"] = self.to_pixels(given)
        return BatchFeature(inputs)

    def encode_prompt(
        self, question: str, *, shows_image: bool = True, layout: Layout = "image_first"
    ) -> Encoded:
        """One question as the tokens before its answer, with the placeholders of an image if it has one."""
        return self._prompts([question], [shows_image], layout)[0]

    def _prompts(
        self, questions: Sequence[str], shown: Sequence[bool], layout: Layout
    ) -> list[Encoded]:
        texts = [
            f"{self.image_token}\n{question}" if shows_image else question
            for question, shows_image in zip(questions, shown, strict=True)
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
    """Pad sequences on `side` ("left", "right"), questions always on the right, one for each image.

    attention_mask is (b, t); (b, 1, t, t) with position_ids (b, t) when turns stand apart, which is for
    training and padded on the right.
    """
    batch = {
        "input_ids": _padded([e.input_ids for e in encoded], tokenizer.pad_token_id, side),
        "labels": _padded([e.labels for e in encoded], IGNORED, side),
    }
    if encoded[0].turns is None:
        batch["attention_mask"] = _padded([[1] * len(e.input_ids) for e in encoded], 0, side)
    else:
        batch |= _turns_apart(_padded([e.turns or [] for e in encoded], -1, side))
    questions = [e.question_ids for e, shown in zip(encoded, has_image, strict=True) if shown]
    if reads_question and questions:
        ones = [[1] * len(question) for question in questions]
        batch["question_input_ids"] = _padded(questions, tokenizer.pad_token_id, "right")
        batch["question_attention_mask"] = _padded(ones, 0, "right")
    return batch


def _padded(rows: Sequence[Sequence[int]], filler: int, side: str) -> Tensor:
    """Rows of different lengths, filled up on `side` to the longest's."""
    length = max(map(len, rows))
    padded = np.full((len(rows), length), filler)
    for line, row in zip(padded, rows, strict=True):
        start = length - len(row) if side == "left" else 0
        line[start : start + len(row)] = row
    return torch.from_numpy(padded)


def _turns_apart(own: Tensor) -> dict[str, Tensor]:
    """Mask and positions that let each turn see itself and turn 0 only, as if asked alone.

    own (b, t): the turn that a token belongs to, -1 for padding.
    """
    length = own.shape[1]
    shared = own == 0
    seen = shared[:, None, :] | (own[:, :, None] == own[:, None, :])
    mask = seen & torch.ones(length, length, dtype=torch.bool).tril()
    place = torch.arange(length).expand_as(own)
    begins = torch.ones_like(shared)
    begins[:, 1:] = own[:, 1:] != own[:, :-1]
    start = torch.where(begins, place, 0).cummax(dim=1).values
    positions = place - start + torch.where(shared, 0, shared.sum(dim=1, keepdim=True))
    return {"attention_mask": mask[:, None], "position_ids": positions}
