"""Tower, projector and LLM without its head: images and text in, hidden states out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, LlavaModel
from transformers.models.llava.modeling_llava import LlavaModelOutputWithPast

from vlmscale.models.config import VlmConfig
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import build_projector
from vlmscale.models.supervised_forward import compute_supervised_states
from vlmscale.models.tower import (
    compute_last_attention,
    compute_shrunk_patches,
    compute_tower_features,
)

# b sequences, i images in the batch (i <= b: a sequence may have none), t tokens, q question tokens,
# p patches, v visual tokens, l selected tower layers, d tower width, n LLM width


@dataclass(frozen=True)
class VisualTokens:
    """The projector's output for a batch, image by image; with several counts, count by count."""

    tokens: Tensor  # (sum of counts times i, n)
    present: Tensor | None = None  # as many bools; False: an absent token, masked from the LLM


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
        self.post_init()

    def encode_images(
        self,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        question_input_ids: Tensor | None = None,
        question_attention_mask: Tensor | None = None,
        visual_token_counts: Tensor | None = None,
        question_states: Tensor | None = None,
    ) -> VisualTokens:
        """Return the visual tokens of each image.

        Pass either pixel_values (i, 3, h, w) or the tower's stored features (i, 1 + p, l d).
        question_states (i, q, n), from `encode_questions`, replace question_input_ids. With
        visual_token_counts (k,), an elastic projector gives each of these counts, one after the other.
        """
        projector = self.multi_modal_projector
        features = self._gather_features(
            pixel_values,
            vision_features,
            question_input_ids,
            question_attention_mask,
            question_states,
        )
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
        return VisualTokens(torch.cat(tokens), torch.cat(present) if present else None)

    def _gather_features(
        self,
        pixel_values: Tensor | None,
        vision_features: Tensor | None,
        question_input_ids: Tensor | None,
        question_attention_mask: Tensor | None,
        question_states: Tensor | None,
    ) -> VisionFeatures:
        """Compute what the projector's `needs` name, and nothing more."""
        projector, width = self.multi_modal_projector, self.config.vision_config.hidden_size
        needs = projector.needs
        if "pixels" in needs and pixel_values is not None:
            empty = (len(pixel_values), 1, width * len(self.config.layers))
            vision_features = pixel_values.new_zeros(empty)
        elif vision_features is None:
            assert pixel_values is not None
            vision_features = compute_tower_features(
                self.vision_tower, pixel_values, self.config.layers
            )
        weight = next(projector.parameters())
        all_layers = vision_features.to(weight.device, weight.dtype)
        multilayer = all_layers[:, 1:]
        attention, keys = None, None
        if "tower_attention" in needs:
            last = self.config.layers.index(self.config.vision_config.num_hidden_layers - 1)
            hidden = all_layers[..., last * width : (last + 1) * width]
            attention, keys = compute_last_attention(self.vision_tower, hidden)
        states, mask = question_states, question_attention_mask
        if projector.reads_question:
            if states is None and question_input_ids is not None and mask is not None:
                states = self.encode_questions(question_input_ids, mask)
            if states is None or mask is None:
                raise ValueError(
                    f"{self.config.method} reads the question: pass question_input_ids and "
                    "question_attention_mask (the processor's `ask` makes them)"
                )
        return VisionFeatures(
            patches=multilayer[..., -width:],
            grid_side=self.config.grid_side,
            multilayer=multilayer if "multilayer" in needs else None,
            question=_pick_last_states(states, mask) if "question" in needs else None,
            question_tokens=states if "question_tokens" in needs else None,
            question_mask=mask if "question_tokens" in needs else None,
            cls_attention=attention,
            keys=keys,
            patches_at=self._shrink_images(pixel_values) if "pixels" in needs else None,
        )

    def _shrink_images(self, pixel_values: Tensor | None) -> Callable[[int], Tensor]:
        """Return the function that gives the patches of the images shrunk to side x side patches."""
        if pixel_values is None:
            raise ValueError(
                f"{self.config.method} reads the image itself: pass pixel_values, not stored features"
            )
        weight = next(self.multi_modal_projector.parameters())
        layer, patch = self.config.layers[-1], self.config.vision_config.patch_size

        def patches_at(side: int) -> Tensor:
            patches = compute_shrunk_patches(
                self.vision_tower, pixel_values, pixels=side * patch, layer=layer
            )
            return patches.to(weight.dtype)

        return patches_at

    def encode_questions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the LLM's last hidden state on each question token, (i, q, n), without gradient.

        input_ids, attention_mask (i, q), padded on the right.
        """
        with torch.no_grad():
            hidden: Tensor = self.language_model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state
        return hidden

    def mask_absent_tokens(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, present: Tensor
    ) -> Tensor:
        """Return `attention_mask` (b, t) with 0 on visual tokens that are not `present`."""
        assert input_ids is not None
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.clone()
        mask[input_ids == self.config.image_token_index] = present.to(mask.dtype)
        return mask

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        question_input_ids: Tensor | None = None,
        question_attention_mask: Tensor | None = None,
        visual_token_counts: Tensor | None = None,
        visual_embeds: Tensor | None = None,
        prompt_length: int | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        supervised: Tensor | None = None,
        **kwargs: Any,
    ) -> LlavaModelOutputWithPast:
        """See Vlm.forward. `supervised` (b, t) bool: return the hidden states of these positions only."""
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None or vision_features is not None:
            visual = self.encode_images(
                pixel_values,
                vision_features,
                question_input_ids,
                question_attention_mask,
                visual_token_counts,
            )
            visual_embeds = visual.tokens
            if visual.present is not None:
                attention_mask = self.mask_absent_tokens(input_ids, attention_mask, visual.present)
                kwargs["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        places = None
        if visual_embeds is not None:
            places = input_ids == self.config.image_token_index
            wanted, given = int(places.sum()), len(visual_embeds)
            if wanted != given:
                raise ValueError(
                    f"input_ids hold {wanted} placeholders for visual tokens, but the images give "
                    f"{given}. Make input_ids with the model's own processor."
                )
            inputs_embeds = inputs_embeds.masked_scatter(
                places.unsqueeze(-1), visual_embeds.to(inputs_embeds.dtype)
            )
        # A method that acts inside the LLM must do so in training, too: it needs the full pass.
        if supervised is not None and "llm_attention" not in self.multi_modal_projector.needs:
            states = compute_supervised_states(
                self.language_model,
                inputs_embeds,
                supervised,
                attention_mask,
                kwargs.get("position_ids"),
            )
            return LlavaModelOutputWithPast(last_hidden_state=states)
        length = inputs_embeds.shape[1] if attention_mask is None else attention_mask.shape[-1]
        prompt = places if places is None else places[:, :prompt_length]
        with self.multi_modal_projector.hook_llm(self.language_model, prompt, length):
            outputs = self.language_model(
                attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
            )
        states = outputs.last_hidden_state
        return LlavaModelOutputWithPast(
            last_hidden_state=states if supervised is None else states[supervised],
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def _pick_last_states(states: Tensor | None, mask: Tensor | None) -> Tensor:
    """Return the state on the last token of each question: (i, q, n) -> (i, n)."""
    assert states is not None
    assert mask is not None
    return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]
