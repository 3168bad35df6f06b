"""Images, questions and conversations to model inputs."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import BatchFeature, LlavaProcessor, PreTrainedTokenizerBase

from vlmscale.errors import UserError
from vlmscale.models.arguments import (
    check_conversation,
    flatten_images,
    list_texts,
    open_image,
    pair_images,
)
from vlmscale.models.conversation import (
    IGNORED,
    Encoded,
    encode_all,
    encode_written_prompts,
    is_written_prompt,
)
from vlmscale.models.pixels import to_pixels
from vlmscale.models.templates import TEMPLATES
from vlmscale.settings import Aspect, PromptLayout

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
        prompt_layout: PromptLayout = "image_first",
        **kwargs: Any,
    ) -> None:
        if kwargs.get("chat_template") is None and template in TEMPLATES:
            kwargs["chat_template"] = TEMPLATES[template].write_jinja(prompt_layout)
        super().__init__(image_processor, tokenizer, **kwargs)
        self.visual_tokens = visual_tokens
        self.template = template
        self.reads_question = reads_question
        self.aspect: Aspect = aspect
        self.prompt_layout: PromptLayout = prompt_layout

    def to_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what is saved; of the layout only one that is not the default."""
        values = super().to_dict(*args, **kwargs)
        if self.prompt_layout == "image_first":
            values.pop("prompt_layout", None)
        return values

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs: Any) -> str:
        return str(self.image_token) * self.visual_tokens

    def to_pixels(self, images: Sequence[Any]) -> Tensor:
        """Convert PIL images to pixels (i, 3, h, w)."""
        return to_pixels(images, self.image_processor, self.aspect)

    def ask(
        self,
        images: Any,
        questions: str | Sequence[str],
        *,
        pixels: bool = True,
        layout: PromptLayout | None = None,
    ) -> BatchFeature:
        """Make the inputs of generate() for questions with one image each, or None.

        images: PIL images or paths, one for each question; a single one serves all questions, a single
        question all images. layout: whether the image or the text comes first, by default as in
        training. Returns input_ids, attention_mask (b, t), padded on the left; pixel_values (i, 3, h, w) if
        there is an image; and question_input_ids, question_attention_mask (i, q) if the method reads the
        question. With pixels=False the caller adds stored features. Raises UserError.
        """
        layout = layout or self.prompt_layout
        if layout not in (known := get_args(PromptLayout)):
            raise UserError(f"layout must be one of {', '.join(known)}, not {layout!r}")
        images, questions = pair_images(images, questions)
        has_image = [image is not None for image in images]
        encoded = self.encode_prompts(questions, has_image, layout)
        return self._make_inputs(encoded, images, pixels)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Make the inputs that `ask` makes, from prompts of `apply_chat_template` or bare questions.

        images: one for each text with `<image>` in it, or one for each question. Tensors are padded on the
        left, whatever `padding` says. Raises UserError for other options.
        """
        given, texts = flatten_images(images), list_texts([] if text is None else text, "text")
        options = {key for key, value in kwargs.items() if value not in (None, "left")}
        unknown = sorted(options - {"padding", "add_special_tokens"})
        if unknown or return_tensors not in ("pt", None):
            raise UserError(
                f"processor: {', '.join(unknown) or 'return_tensors'} is not supported. It returns PyTorch "
                "tensors, padded on the left; leave the option out."
            )
        if not texts and not given:
            raise UserError("processor: pass images, text or both")
        if not texts:
            return BatchFeature({"pixel_values": self.to_pixels(given)})
        marks = [each.count(self.image_token) for each in texts]
        is_written = [is_written_prompt(each, self.template) for each in texts]
        if len(given) == len(texts) and not any(marks) and not any(is_written):
            marks = [1] * len(texts)
        if max(marks) > 1 or sum(marks) != len(given):
            raise UserError(
                f"processor: {len(given)} images for texts with {marks} times {self.image_token}. A text "
                "reads one image: put one mark where it belongs, and pass the images in that order."
            )
        each_image = iter(given)
        paired = [next(each_image) if mark else None for mark in marks]
        if not any(is_written):
            return self.ask(paired, [each.replace(self.image_token, "") for each in texts])
        encoded = encode_written_prompts(
            texts, self.tokenizer, self.template, self.visual_tokens, self.reads_question
        )
        return self._make_inputs(encoded, [open_image(image) for image in paired])

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """Write conversations of texts and images as transformers' own does.

        Raises UserError for what the template would leave out: other parts, tools, other system prompts.
        """
        for unread in ("tools", "documents"):
            if kwargs.get(unread):
                raise UserError(
                    f"apply_chat_template: the model has not learned {unread}. Leave them out."
                )
        check_conversation(conversation)
        try:
            return super().apply_chat_template(conversation, *args, **kwargs)
        except TemplateError as error:
            raise UserError(f"apply_chat_template: {error}") from None

    def decode_answers(self, inputs: Mapping[str, Tensor], ids: Tensor) -> list[str]:
        """Return the texts that generate() put after the prompts of `inputs`."""
        return self.tokenizer.batch_decode(
            ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )

    def encode_prompts(
        self, questions: Sequence[str], has_image: Sequence[bool], layout: PromptLayout
    ) -> list[Encoded]:
        """Tokenise questions up to their answers, with placeholders where there is an image.

        Raises UserError for a question with more marks of images than images.
        """
        for number, (question, image) in enumerate(zip(questions, has_image, strict=True)):
            if question.count(self.image_token) > image:
                raise UserError(
                    f"questions[{number}] says {self.image_token}, but has "
                    f"{'one image' if image else 'no image'}: {question!r}. Leave the mark out."
                )
        texts = [
            f"{self.image_token}\n{question.strip()}".strip() if image else question
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

    def _make_inputs(
        self, encoded: list[Encoded], images: list[Any], pixels: bool = True
    ) -> BatchFeature:
        unknown = self.tokenizer.unk_token_id
        unread = [i for i, one in enumerate(encoded) if unknown in one.input_ids]
        if unread:
            warnings.warn(
                f"prompts {unread} have words that the model's tokenizer does not know; it reads "
                f"{self.tokenizer.unk_token} in their place.",
                stacklevel=3,
            )
        has_image = [image is not None for image in images]
        inputs = pad_batch(
            encoded, has_image, self.tokenizer, reads_question=self.reads_question, side="left"
        )
        inputs.pop("labels")
        given = [image for image in images if image is not None]
        if given and pixels:
            inputs["pixel_values"] = self.to_pixels(given)
        return BatchFeature(inputs)


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
