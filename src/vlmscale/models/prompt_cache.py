"""Text that is asked of every image: computed once, before any image is there.

    prompt = cache_prompt(model, processor, "how many red circles ?")
    ids = model.generate(pixel_values=processor.to_pixels(images), prompt_cache=prompt, max_new_tokens=8)
    answers = processor.tokenizer.batch_decode(ids[:, prompt.length :], skip_special_tokens=True)

The text stands before the image (`layout="text_first"` of the processor), so its keys and values do not
depend on it; nor does what a compressor reads of the question. The paper's "text cached", Q = 0. Apart
from vlm.py, so that a change here makes no training anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig

from vlmscale.errors import UserError
from vlmscale.models.processor import VlmProcessor
from vlmscale.models.vlm import Vlm

# b images, c tokens of text that are cached, r tokens from the image on, q tokens of the question,
# h heads of keys and values, w their width, n LLM width


@dataclass(frozen=True)
class PromptCache:
    """A prompt whose beginning has been through the LLM; any number of batches can start from it."""

    before: Tensor  # (1, c), ids of the cached text
    rest: Tensor  # (1, r), ids of the image's placeholders and of what follows them
    keys_values: tuple[tuple[Tensor, Tensor], ...]  # of each layer, (1, h, c, w); none if c is 0
    question_states: Tensor | None  # (1, q, n), for a compressor that reads the question
    llm: PreTrainedConfig

    @property
    def length(self) -> int:
        """Tokens of the prompt: where the answer begins in what generate() gives."""
        return self.before.shape[1] + self.rest.shape[1]

    def build_cache(self, batch: int) -> DynamicCache:
        """Keys and values (batch, h, c, w) that a pass may add its own to.

        They are views of the ones kept here: a pass makes new tensors of them and its own, never writes.
        """
        cache = DynamicCache(config=self.llm)
        for layer, (keys, values) in zip(cache.layers, self.keys_values, strict=False):
            layer.lazy_initialization(keys, values)
            layer.keys = keys.expand(batch, -1, -1, -1)
            layer.values = values.expand(batch, -1, -1, -1)
        return cache

    def build_question_inputs(self, batch: int) -> dict[str, Tensor]:
        """For `batch` images, what their encoding needs of the question."""
        if self.question_states is None:
            return {}
        states = self.question_states.expand(batch, -1, -1)
        return {
            "question_states": states,
            "question_attention_mask": torch.ones(
                states.shape[:2], dtype=torch.long, device=states.device
            ),
        }

    def fill_arguments(self, inputs: Tensor | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of generate() with this prompt for each of their images.

        Raises ValueError when they hold no image, or a prompt of their own.
        """
        images = [
            arguments[name]
            for name in ("pixel_values", "vision_features")
            if arguments.get(name) is not None
        ]
        if len(images) != 1:
            raise ValueError(
                "prompt_cache: pass pixel_values (`processor.to_pixels(images)`) or vision_features"
            )
        taken = ("input_ids", "attention_mask", "question_input_ids", "past_key_values")
        if inputs is not None or any(arguments.get(name) is not None for name in taken):
            raise ValueError(f"prompt_cache is the whole prompt: leave out {', '.join(taken)}")
        batch = len(images[0])
        ids = torch.cat([self.before, self.rest], dim=1).expand(batch, -1)
        return {
            **arguments,
            **self.build_question_inputs(batch),
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "past_key_values": self.build_cache(batch),
        }


def cache_prompt(model: Vlm, processor: VlmProcessor, text: str) -> PromptCache:
    """The prompt that asks `text` of an image, its text computed by `model` as it is now.

    What the template puts after the image (the opening of the answer) is computed with each image.
    Raises UserError for a method that acts inside the LLM.
    """
    encoded = processor.encode_prompt(text, layout="text_first")
    ids = torch.tensor([encoded.input_ids], device=model.device)
    begins = encoded.input_ids.index(model.config.image_token_index)
    question = torch.tensor([encoded.question_ids], device=model.device)
    return cache_tokens(
        model,
        ids[:, :begins],
        ids[:, begins:],
        question if processor.reads_question else None,
    )


@torch.no_grad()
def cache_tokens(model: Vlm, before: Tensor, rest: Tensor, question: Tensor | None) -> PromptCache:
    """As cache_prompt, from ids: before (1, c), rest (1, r) and, where it is read, question (1, q)."""
    if "llm_attention" in model.model.multi_modal_projector.needs:
        raise UserError(
            f"{model.config.method} prunes inside the LLM, by a pass over the whole prompt: it cannot go "
            "on from a cached text. Ask with `processor.ask`."
        )
    inner = model.model
    keys_values: tuple[tuple[Tensor, Tensor], ...] = ()
    if before.shape[1]:
        cache = inner.language_model(input_ids=before, use_cache=True).past_key_values
        if any(layer.is_sliding for layer in cache.layers):
            raise UserError(
                "prompt cache: an LLM that sees only a window of its text has no keys and values to share"
            )
        keys_values = tuple((layer.keys, layer.values) for layer in cache.layers)
    states = None
    if question is not None:
        states = inner.encode_questions(question, torch.ones_like(question))
    return PromptCache(before, rest, keys_values, states, model.config.text_config)
