"""Tower, projector and LLM without its head: images and text in, hidden states out."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import AutoModel, LlavaModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from vlmscale.errors import UserError
from vlmscale.models.chosen_tokens import pick_tokens
from vlmscale.models.config import VlmConfig
from vlmscale.models.features import VisionFeatures
from vlmscale.models.llm_input import LlmInput, adapt_mask, hide_keys, select_instructions
from vlmscale.models.projectors.base import build_projector
from vlmscale.models.supervised_forward import compute_supervised_states
from vlmscale.models.token_merging import make_patch_readers
from vlmscale.models.tower import (
    compute_block_attention,
    compute_last_attention,
    compute_tower_features,
)

# b sequences, i images in the batch (i <= b: a sequence may have none), t tokens, q question tokens,
# s special positions of the tower, p patches, v visual tokens, l selected tower layers, d tower width,
# n LLM width

# The arguments of `encode_images`.
_VISION_INPUTS = (
    "pixel_values",
    "vision_features",
    "question_input_ids",
    "question_attention_mask",
    "question_states",
    "visual_token_counts",
)


@dataclass(frozen=True)
class VisualTokens:
    """The projector's output for a batch, image by image; with several counts, count by count."""

    tokens: Tensor  # (sum of counts times i, n)
    present: Tensor | None = None  # as many bools; False: an absent token, masked from the LLM
    context: Tensor | None = (
        None  # (i, p, n), of a method that makes it: see Projector.make_context
    )


class VlmModel(LlavaModel):
    """Transformers' LlavaModel with a projector of choice. docs/upstream.md lists what it replaces."""

    config_class = VlmConfig
    config: VlmConfig

    def __init__(self, config: VlmConfig) -> None:
        # LlavaModel's own __init__ would build a second tower and LLM only to be replaced.
        super(LlavaModel, self).__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = build_projector(config.widths, config.setting)
        self.language_model = AutoModel.from_config(config.text_config)
        # By the cache of their generation: the keys that generated text does not attend to, (b, k) bool.
        self.hidden_keys: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()
        self.post_init()

    def encode_given(self, arguments: dict[str, Any]) -> VisualTokens | None:
        """Take what `encode_images` reads out of `arguments`; encode it if there are images."""
        vision = {name: arguments.pop(name, None) for name in _VISION_INPUTS}
        if vision["pixel_values"] is None and vision["vision_features"] is None:
            return None
        return self.encode_images(**vision)

    def encode_images(
        self,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        visual_token_counts: Tensor | None = None,
        **question: Tensor | None,
    ) -> VisualTokens:
        """Return the visual tokens of each image.

        Pass either pixel_values (i, 3, h, w) or the tower's stored features (i, s + p, l d). For a method
        that reads the question pass question_attention_mask (i, q), and question_input_ids (i, q) or
        question_states (i, q, n) from `encode_questions`. With visual_token_counts (k,), an elastic
        projector gives each of these counts, one after the other.
        """
        projector = self.multi_modal_projector
        features = self._gather_features(pixel_values, vision_features, **question)
        if visual_token_counts is None:
            outputs = [projector(features)]
        else:
            outputs = [projector(features, count) for count in visual_token_counts.tolist()]
        tokens, present = [], []
        for output in outputs:
            if isinstance(output, tuple):
                output, mask = output
                present.append(mask.flatten())
            tokens.append(output.flatten(0, 1))
        return VisualTokens(
            torch.cat(tokens),
            torch.cat(present) if present else None,
            projector.make_context(features),
        )

    def _gather_features(
        self, pixel_values: Tensor | None, vision_features: Tensor | None, **question: Tensor | None
    ) -> VisionFeatures:
        """Compute what the projector's `needs` name, and nothing more."""
        projector, width = self.multi_modal_projector, self.config.vision_config.hidden_size
        needs, special = projector.needs, self.config.special_positions
        given: dict[str, Any] = {}
        weight = next(projector.parameters())
        if "pixels" in needs:
            if pixel_values is None:
                raise UserError(
                    f"{self.config.method} reads the image itself: pass pixel_values, not stored features"
                )
            empty = (len(pixel_values), special, width * len(self.config.layers))
            vision_features = weight.new_zeros(empty)
            given |= make_patch_readers(
                self.vision_tower, pixel_values, self.config.layers[-1], weight.dtype
            )
        elif vision_features is None:
            assert pixel_values is not None
            vision_features = compute_tower_features(
                self.vision_tower, pixel_values, self.config.layers
            )
        all_layers = vision_features.to(weight.device, weight.dtype)
        multilayer = all_layers[:, special:]
        if "multilayer" in needs:
            given["multilayer"] = multilayer
        if "tower_attention" in needs:
            last = self.config.layers.index(self.config.vision_config.num_hidden_layers - 1)
            hidden = all_layers[..., last * width : (last + 1) * width]
            given["cls_attention"], given["keys"] = compute_last_attention(
                self.vision_tower, hidden
            )
        if "block_attention" in needs:
            block = self.config.layers[-1] - 1
            before = self.config.layers.index(block)
            hidden = all_layers[..., before * width : (before + 1) * width]
            given["block_attention"], given["block_keys"] = compute_block_attention(
                self.vision_tower, hidden, block
            )
        if "cls" in needs:
            given["cls"] = all_layers[:, 0, -width:]
        if projector.reads_question:
            states, mask = self._read_question(**question)
            if "question" in needs:
                given["question"] = states[
                    torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1
                ]
            for need in {"question_tokens", "question_embeddings"}.intersection(needs):
                given[need], given["question_mask"] = states, mask
        return VisionFeatures(
            patches=multilayer[..., -width:], grid_side=self.config.grid_side, **given
        )

    def _read_question(
        self,
        question_input_ids: Tensor | None = None,
        question_attention_mask: Tensor | None = None,
        question_states: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what `encode_questions` gives (i, q, n), and which tokens are no padding (i, q)."""
        states, mask = question_states, question_attention_mask
        if states is None and question_input_ids is not None and mask is not None:
            states = self.encode_questions(question_input_ids, mask)
        if states is None or mask is None:
            raise UserError(
                f"{self.config.method} reads the question: pass question_input_ids and "
                "question_attention_mask (the processor's `ask` makes them)"
            )
        return states, mask

    def encode_questions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the LLM's last hidden state on each question token, (i, q, n), without gradient.

        For a method that needs "question_embeddings": the embedding of each token, without a pass.
        input_ids, attention_mask (i, q), padded on the right.
        """
        with torch.no_grad():
            if "question_embeddings" in self.multi_modal_projector.needs:
                return self.get_input_embeddings()(input_ids)
            return self.language_model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state

    def mask_absent_tokens(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, present: Tensor
    ) -> Tensor:
        """Return `attention_mask` (b, t) with 0 on visual tokens that are not `present`."""
        assert input_ids is not None
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.clone()
        mask[input_ids == self.config.image_token_index] = present.to(mask.dtype)
        return mask

    def find_places(
        self, input_ids: Tensor | None, visual_embeds: Tensor | None, prompt_length: int | None
    ) -> Tensor:
        """Return where visual_embeds (all visual tokens, n) belong in input_ids, (b, t) bool.

        Generated text begins at prompt_length. Raises UserError when the numbers differ.
        """
        if input_ids is None:
            raise UserError(
                "images need input_ids, whose placeholders say where they belong; inputs_embeds do not. "
                "Make input_ids with the model's own processor."
            )
        places = input_ids == self.config.image_token_index
        if prompt_length is not None:
            places[:, prompt_length:] = False
        if places.is_meta:  # which costs are counted on; it has no values
            return places
        wanted, given = int(places.sum()), 0 if visual_embeds is None else len(visual_embeds)
        if wanted != given:
            raise UserError(
                f"input_ids hold {wanted} placeholders for visual tokens, but the images give {given}. "
                f"Placeholders by sequence: {places.sum(dim=1).tolist()}. An image needs "
                f"{self.multi_modal_projector.placeholders}. Make input_ids with the model's own "
                "processor, and pass its images on."
            )
        return places

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        visual_embeds: Tensor | None = None,
        visual_context: Tensor | None = None,
        prompt_length: int | None = None,
        supervised: Tensor | None = None,
        answers: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """See Vlm.forward. `supervised` (b, t) bool: return the hidden states of these positions only.

        answers (b, t) bool: what no method may rewrite, beside what stands from prompt_length on.
        """
        visual = self.encode_given(kwargs)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if visual is not None:
            visual_embeds, visual_context = visual.tokens, visual.context
            if visual.present is not None:
                attention_mask = self.mask_absent_tokens(input_ids, attention_mask, visual.present)
                kwargs["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        cache, positions = kwargs.get("past_key_values"), kwargs.pop("position_ids", None)
        cached = 0 if cache is None else cache.get_seq_length()
        places: Tensor | None = None
        hidden: Tensor | None = None
        if visual_embeds is None:
            if input_ids is not None and not cached:
                self.find_places(input_ids, None, prompt_length)
            if cache is not None and cache in self.hidden_keys:
                keys = cached + inputs_embeds.shape[1]
                attention_mask = hide_keys(attention_mask, self.hidden_keys[cache], keys)
        else:
            places = self.find_places(input_ids, visual_embeds, prompt_length)
            inputs_embeds = inputs_embeds.masked_scatter(
                places.unsqueeze(-1), visual_embeds.to(inputs_embeds.dtype)
            )
            written = ~places if answers is None else ~places & ~answers
            given = LlmInput(
                inputs_embeds,
                places,
                attention_mask,
                positions,
                cached,
                select_instructions(written, attention_mask, prompt_length),
                visual_context,
            )
            given = self.multi_modal_projector.prepare_llm_input(given)
            inputs_embeds, positions, hidden = given.embeds, given.position_ids, given.hidden
            attention_mask = given.build_mask()
        # A method that acts inside the LLM must do so in training, too: it needs the full pass.
        if supervised is not None and "llm_attention" not in self.multi_modal_projector.needs:
            states = compute_supervised_states(
                self.language_model, inputs_embeds, supervised, attention_mask, positions
            )
            return BaseModelOutputWithPast(last_hidden_state=states)
        if hidden is not None:
            attention_mask = adapt_mask(attention_mask, self.language_model, self.config.method)
        prompt = places if places is None else places[:, :prompt_length]
        with self.multi_modal_projector.hook_llm(self.language_model, prompt):
            outputs = self.language_model(
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                position_ids=positions,
                **kwargs,
            )
        if hidden is not None and outputs.past_key_values is not None:
            self.hidden_keys[outputs.past_key_values] = hidden
        if supervised is not None:
            outputs.last_hidden_state = pick_tokens(outputs.last_hidden_state, supervised)
        return outputs
