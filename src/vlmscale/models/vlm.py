"""The vision-language model: a frozen tower, a compressor, an LLM, on transformers' LLaVA classes."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaModel,
)
from transformers.models.llava.modeling_llava import (
    LlavaCausalLMOutputWithPast,
    LlavaModelOutputWithPast,
)

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, projector_class

# b sequences, i images in the batch (i <= b: a sequence may have none), t tokens, q question tokens,
# p patches, v visual tokens, l selected tower layers, d tower width, n LLM width

# Inputs of the prefill only; generate() must not pass them on to later steps.
_PREFILL_ONLY = ("pixel_values", "vision_features", "question_input_ids", "question_attention_mask")


class VlmConfig(LlavaConfig):
    """LLaVA's config plus the method. `vision_feature_layer` lists the tower's selected layers."""

    model_type = "vlmscale"

    method: str = "mlp"
    visual_tokens: int = 1
    method_options: dict | None = None
    template: str = "qa"

    @property
    def grid_side(self) -> int:
        return int(self.vision_config.image_size // self.vision_config.patch_size)

    @property
    def layers(self) -> list[int]:
        chosen = self.vision_feature_layer
        return [chosen] if isinstance(chosen, int) else list(chosen)


def build_projector(config: VlmConfig) -> Projector:
    widths = Widths(
        tower=config.vision_config.hidden_size,
        layers=len(config.layers),
        llm=config.text_config.hidden_size,
        grid_side=config.grid_side,
    )
    cls = projector_class(config.method)
    return cls(widths, config.visual_tokens, config.method_options or {})


def tower_features(tower: nn.Module, pixel_values: Tensor, layers: list[int]) -> Tensor:
    """Selected hidden states without the CLS position, joined on channels: (i, p, l d).

    Index 0 is the embedding, index k the output of block k; no final norm (LLaVA's convention).
    """
    with torch.no_grad():
        hidden = tower(pixel_values, output_hidden_states=True).hidden_states
    return torch.cat([hidden[layer][:, 1:] for layer in layers], dim=-1)


class VlmModel(LlavaModel):
    config_class = VlmConfig
    config: VlmConfig

    def __init__(self, config: VlmConfig) -> None:
        # Not LlavaModel's own: it would build a second tower and LLM only to be replaced.
        super(LlavaModel, self).__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = build_projector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def visual_tokens(
        self,
        pixel_values: Tensor | None,
        vision_features: Tensor | None,
        question_input_ids: Tensor | None,
        question_attention_mask: Tensor | None,
    ) -> Tensor:
        """The compressor's output for each image, (i, v, n).

        Either pixel_values (i, 3, h, w) or the tower's stored features (i, p, l d).
        """
        projector = self.multi_modal_projector
        if vision_features is None:
            assert pixel_values is not None
            vision_features = tower_features(self.vision_tower, pixel_values, self.config.layers)
        weight = next(projector.parameters())
        multilayer = vision_features.to(weight.device, weight.dtype)
        question = None
        if "question" in projector.needs:
            if question_input_ids is None or question_attention_mask is None:
                raise ValueError(
                    f"{self.config.method} reads the question: pass question_input_ids and "
                    "question_attention_mask (the processor's `ask` makes them)"
                )
            question = self.question_embedding(question_input_ids, question_attention_mask)
        return projector(
            VisionFeatures(
                patches=multilayer[..., -self.config.vision_config.hidden_size :],
                grid_side=self.config.grid_side,
                multilayer=multilayer if "multilayer" in projector.needs else None,
                question=question,
            )
        )

    def question_embedding(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The LLM's last hidden state on the last token of each question, (i, n), without gradient.

        input_ids, attention_mask (i, q), padded on the right.
        """
        with torch.no_grad():
            hidden = self.language_model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state
        last = attention_mask.sum(dim=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        question_input_ids: Tensor | None = None,
        question_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> LlavaModelOutputWithPast:
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None or vision_features is not None:
            tokens = self.visual_tokens(
                pixel_values, vision_features, question_input_ids, question_attention_mask
            )
            places = input_ids == self.config.image_token_index
            wanted, given = int(places.sum()), tokens.shape[0] * tokens.shape[1]
            if wanted != given:
                raise ValueError(
                    f"the sequences have {wanted} placeholders for visual tokens, but "
                    f"{tokens.shape[0]} images of {tokens.shape[1]} tokens give {given}"
                )
            inputs_embeds = inputs_embeds.masked_scatter(
                places.unsqueeze(-1), tokens.to(inputs_embeds.dtype)
            )
        outputs = self.language_model(
            attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
        )
        return LlavaModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class Vlm(LlavaForConditionalGeneration):
    """The model of every cell. `forward` takes no mm_encoder_outputs, so that generate() hands images
    and questions to the prefill, where compressors that read the question need them.
    """

    config_class = VlmConfig
    config: VlmConfig

    def __init__(self, config: VlmConfig) -> None:
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = VlmModel(config)
        self.lm_head = nn.Linear(
            config.text_config.hidden_size, config.text_config.vocab_size, bias=False
        )
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        question_input_ids: Tensor | None = None,
        question_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> LlavaCausalLMOutputWithPast:
        """Shapes: input_ids, attention_mask, labels (b, t); pixel_values (i, 3, h, w) or
        vision_features (i, p, l d); question_input_ids, question_attention_mask (i, q). Images stand
        in the order of the sequences that have one. Raises ValueError when placeholders and visual
        tokens differ in number.
        """
        loss_kwargs = {key: kwargs.pop(key) for key in ("num_items_in_batch",) if key in kwargs}
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            vision_features=vision_features,
            question_input_ids=question_input_ids,
            question_attention_mask=question_attention_mask,
            attention_mask=attention_mask,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.text_config.vocab_size,
                **loss_kwargs,
            )
        return LlavaCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(
        self, *args: Any, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        if not is_first_iteration and kwargs.get("use_cache", True):
            kwargs = {key: value for key, value in kwargs.items() if key not in _PREFILL_ONLY}
        return super().prepare_inputs_for_generation(
            *args, is_first_iteration=is_first_iteration, **kwargs
        )

    def initialise_projector(self, seed: int) -> None:
        """Fresh projector weights by the method's own rule, the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model.multi_modal_projector = build_projector(self.config).to(self.dtype)
