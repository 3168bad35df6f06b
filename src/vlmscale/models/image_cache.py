"""Images about which many questions come: their keys and values are computed once, before any question.

    images = cache_images(model, processor, ["scene.png"])
    inputs = images.ask("how many red circles ?")
    answers = processor.decode_answers(inputs, model.generate(**inputs, max_new_tokens=8))

The image comes before the question, so its keys and values do not depend on it. What a method hides from
the text is dropped: of `voco` its visual tokens stay and no patch. Each key keeps the position it was
computed at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature, DynamicCache, PreTrainedConfig

from vlmscale.errors import UserError
from vlmscale.models.processor import VlmProcessor
from vlmscale.models.vlm import Vlm

# b images, c positions kept of each, r tokens after the image, h heads of keys and values, w their width


@dataclass(frozen=True)
class ImageCache:
    """Images that have passed through the LLM. Any number of questions can start from them."""

    ids: Tensor  # (b, c), tokens of what is kept: the text before the image and its visual tokens
    position_ids: Tensor  # (b, c)
    next_position: int  # of the first token after the image
    keys_values: tuple[tuple[Tensor, Tensor], ...]  # by layer, (b, h, c, w)
    processor: VlmProcessor
    llm: PreTrainedConfig

    @property
    def nbytes(self) -> int:
        """Return the bytes of all keys and values."""
        return sum(each.nbytes for layer in self.keys_values for each in layer)

    def ask(self, questions: str | Sequence[str]) -> BatchFeature:
        """Make the inputs of generate() for one question about each image, or one about all.

        Raises UserError for another number of questions.
        """
        batch = len(self.ids)
        asked = [questions] * batch if isinstance(questions, str) else list(questions)
        if len(asked) != batch:
            raise UserError(
                f"image cache: {len(asked)} questions for {batch} images. Give one for each image."
            )
        encoded = self.processor.encode_prompts(asked, [True] * batch, "image_first")
        rests = [one.input_ids[_find_end(one.input_ids, self.processor) :] for one in encoded]
        longest = max(map(len, rests))
        pad = self.processor.tokenizer.pad_token_id
        ids = [[pad] * (longest - len(rest)) + rest for rest in rests]
        real = [[0] * (longest - len(rest)) + [1] * len(rest) for rest in rests]
        mask = torch.tensor(real, device=self.ids.device)
        positions = self.next_position + (mask.cumsum(dim=1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.llm)
        for layer, (keys, values) in zip(cache.layers, self.keys_values, strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = (
                keys,
                values,
            )  # a pass concatenates and never writes into them
        return BatchFeature(
            {
                "input_ids": torch.cat([self.ids, self.ids.new_tensor(ids)], dim=1),
                "attention_mask": torch.cat([torch.ones_like(self.ids), mask], dim=1),
                "position_ids": torch.cat([self.position_ids, positions], dim=1),
                "past_key_values": cache,
            }
        )


@torch.no_grad()
def cache_images(model: Vlm, processor: VlmProcessor, images: Sequence[Any]) -> ImageCache:
    """Compute the keys and values of images (PIL images or paths), by `model` as it is now.

    Raises UserError for a method whose tokens depend on the question.
    """
    inner, method = model.model, model.config.method
    projector = inner.multi_modal_projector
    if projector.reads_question or {"llm_attention", "text_embeddings"} & set(projector.needs):
        raise UserError(
            f"{method} reads image and question together: no image can be computed before its questions. "
            "Use `processor.ask`."
        )
    inputs = processor.ask(images, "")
    ids = inputs["input_ids"][:, : _find_end(inputs["input_ids"][0].tolist(), processor)]
    ids = ids.to(model.device)
    visual = inner.encode_images(inputs["pixel_values"].to(model.device))
    if visual.present is not None:
        raise UserError(
            f"{method} gives images different numbers of tokens, which share no cache. Use `processor.ask`."
        )
    cache = DynamicCache(config=model.config.text_config)
    inner(input_ids=ids, visual_embeds=visual.tokens, past_key_values=cache, use_cache=True)
    if any(layer.is_sliding for layer in cache.layers):
        raise UserError(
            "image cache: an LLM with a sliding window drops keys and values. Use `processor.ask`."
        )
    kept = torch.ones_like(ids[0], dtype=torch.bool)
    if cache in inner.hidden_keys:
        kept = ~inner.hidden_keys[cache][0]  # all images stand at the same place
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return ImageCache(
        ids=ids[:, kept],
        position_ids=positions[:, kept],
        next_position=ids.shape[1],
        keys_values=tuple(
            (layer.keys[:, :, kept], layer.values[:, :, kept]) for layer in cache.layers
        ),
        processor=processor,
        llm=model.config.text_config,
    )


def _find_end(ids: list[int], processor: VlmProcessor) -> int:
    """Return where the image's placeholders end."""
    image = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    return len(ids) - ids[::-1].index(image)
