"""A question asked about every image: its keys and values are computed once, before any image.

    prompt = cache_prompt(model, processor, "how many red circles ?")
    ids = model.generate(pixel_values=processor.to_pixels(images), prompt_cache=prompt, max_new_tokens=8)
    answers = processor.tokenizer.batch_decode(ids[:, prompt.length :], skip_special_tokens=True)

The text comes before the image (`prompt_layout: text_first` of a study, `layout="text_first"` of the
processor), so its keys and values do not depend on the image; nor does what a projector reads of the
question. The paper calls it "text cached",
Q = 0. It is not part of vlm.py, so that a change here leaves trainings up to date.
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

# b images, c cached text tokens, r tokens from the image on, q question tokens, h heads of keys and values,
# w their width, n LLM width


@dataclass(frozen=True)
class PromptCache:
    """A prompt whose beginning has passed through the LLM. Any number of batches can start from it."""

    before: Tensor  # (1, c), ids of the cached text
    rest: Tensor  # (1, r), ids of the image's placeholders and of what follows them
    keys_values: tuple[tuple[Tensor, Tensor], ...]  # by layer, (1, h, c, w); none if c is 0
    question_states: Tensor | None  # (1, q, n), for a projector that reads the question
    llm: PreTrainedConfig

    @property
    def length(self) -> int:
        """Return the number of the prompt's tokens, after which generate() puts the answer."""
        return self.before.shape[1] + self.rest.shape[1]

    def build_cache(self, batch: int) -> DynamicCache:
        """Build keys and values (batch, h, c, w) that a pass can append to.

        They are views: a pass concatenates its own to them and never writes into them.
        """
        cache = DynamicCache(config=self.llm)
        for layer, (keys, values) in zip(cache.layers, self.keys_values, strict=False):
            layer.lazy_initialization(keys, values)
            layer.keys = keys.expand(batch, -1, -1, -1)
            layer.values = values.expand(batch, -1, -1, -1)
        return cache

    def build_question_inputs(self, batch: int) -> dict[str, Tensor]:
        """Build the question's inputs of `encode_images` for `batch` images."""
        if self.question_states is None:
            return {}
        states = self.question_states.expand(batch, -1, -1)
        return {
            "question_states": states,
            "question_attention_mask": states.new_ones(states.shape[:2], dtype=torch.long),
        }

    def fill_arguments(self, inputs: Tensor | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the arguments of generate() by this prompt, once per image.

        Raises UserError when they hold no image, or another prompt.
        """
        sources = (arguments.get("pixel_values"), arguments.get("vision_features"))
        images = [source for source in sources if source is not None]
        if len(images) != 1:
            raise UserError(
                "prompt_cache: pass pixel_values (`processor.to_pixels(images)`) or vision_features"
            )
        excluded = ("input_ids", "attention_mask", "question_input_ids", "past_key_values")
        if inputs is not None or any(arguments.get(name) is not None for name in excluded):
            raise UserError(f"prompt_cache is the whole prompt: leave out {', '.join(excluded)}")
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
    """Compute the prompt that asks `text` about an image, by `model` as it is now.

    What the template puts after the image (the opening of the answer) is computed with each image.
    Raises UserError for a method that acts inside the LLM.
    """
    (encoded,) = processor.encode_prompts([text], [True], "text_first")
    ids = torch.tensor([encoded.input_ids], device=model.device)
    begins = encoded.input_ids.index(model.config.image_token_index)
    question = torch.tensor([encoded.question_ids], device=model.device)
    return cache_tokens(
        model, ids[:, :begins], ids[:, begins:], question if processor.reads_question else None
    )


@torch.no_grad()
def cache_tokens(model: Vlm, before: Tensor, rest: Tensor, question: Tensor | None) -> PromptCache:
    """Compute a prompt from ids: before (1, c), rest (1, r), and question (1, q) if it is read."""
    if "llm_attention" in model.model.multi_modal_projector.needs:
        raise UserError(
            f"{model.config.method} prunes inside the LLM, by a pass over the whole prompt: it cannot "
            "continue from a cached text. Use `processor.ask`."
        )
    if "text_embeddings" in model.model.multi_modal_projector.needs:
        raise UserError(
            f"{model.config.method} mixes the image into the text before the LLM, so no text can be "
            "computed before its image. Use `processor.ask`."
        )
    inner = model.model
    keys_values: tuple[tuple[Tensor, Tensor], ...] = ()
    if before.shape[1]:
        cache = inner.language_model(input_ids=before, use_cache=True).past_key_values
        if any(layer.is_sliding for layer in cache.layers):
            raise UserError(
                "prompt cache: an LLM with a sliding window has no keys and values to share. Use "
                "`processor.ask`."
            )
        keys_values = tuple((layer.keys, layer.values) for layer in cache.layers)
    states = None
    if question is not None:
        states = inner.encode_questions(question, torch.ones_like(question))
    return PromptCache(before, rest, keys_values, states, model.config.text_config)
