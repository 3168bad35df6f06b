"""The vision-language model of every cell: a frozen tower, a projector and an LLM."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, LlavaForConditionalGeneration
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast

from vlmscale.models.config import VlmConfig
from vlmscale.models.conversation import IGNORED
from vlmscale.models.projectors.base import build_projector
from vlmscale.models.supervised_forward import shift_labels
from vlmscale.models.vlm_model import VisualTokens, VlmModel
from vlmscale.settings import Setting

# b sequences, i images in the batch (i <= b: a sequence may have none), t tokens, q question tokens,
# p patches, l selected tower layers, d tower width, n LLM width, s supervised positions

# The inputs of generate() that encode_images takes.
_VISION_INPUTS = (
    "pixel_values",
    "vision_features",
    "question_input_ids",
    "question_attention_mask",
    "question_states",
    "visual_token_counts",
)


class Vlm(LlavaForConditionalGeneration):
    """Transformers' LLaVA with a projector of choice. docs/upstream.md lists what it replaces."""

    config_class = VlmConfig
    config: VlmConfig

    def __init__(self, config: VlmConfig) -> None:
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = VlmModel(config)
        self.lm_head = nn.Linear(
            config.text_config.hidden_size, config.text_config.vocab_size, bias=False
        )
        self.post_init()
        self.select_attention_kernels()

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
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> LlavaCausalLMOutputWithPast:
        """Return logits, and the loss where there are labels.

        input_ids, attention_mask, labels (b, t). Images come as pixel_values (i, 3, h, w), as
        vision_features (i, 1 + p, l d), or encoded as visual_embeds (all visual tokens, n), in the order
        of the sequences that have one. question_input_ids, question_attention_mask (i, q). With k
        visual_token_counts every sequence stands k times, once per count. prompt_length: where
        generated text begins, if the sequences hold some.

        In training with labels, logits are those of the supervised positions, (s, vocabulary).
        Raises ValueError when the numbers of placeholders and visual tokens differ.
        """
        loss_kwargs = {key: kwargs.pop(key) for key in ("num_items_in_batch",) if key in kwargs}
        supervised = None
        if labels is not None and self.training:
            next_labels = shift_labels(labels)
            supervised = next_labels != IGNORED
            loss_kwargs["shift_labels"] = next_labels[supervised]
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            vision_features=vision_features,
            question_input_ids=question_input_ids,
            question_attention_mask=question_attention_mask,
            visual_token_counts=visual_token_counts,
            visual_embeds=visual_embeds,
            prompt_length=prompt_length,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            supervised=supervised,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state[..., -logits_to_keep:, :])
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

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate one answer a sequence, as transformers' own generate does.

        Takes images and questions as `forward` does, or `visual`, what `model.encode_images` gave for
        them. `prompt_cache` (prompt_cache.py) replaces input_ids. Raises ValueError for beams and for
        several answers a sequence.
        """
        for argument in ("num_beams", "num_return_sequences"):
            if kwargs.get(argument) not in (None, 1):
                raise ValueError(
                    f"{argument}={kwargs[argument]}: only one answer a sequence is generated. Leave it out."
                )
        prompt = kwargs.pop("prompt_cache", None)
        if prompt is not None:
            kwargs = prompt.fill_arguments(inputs, kwargs)
        vision = {name: kwargs.pop(name, None) for name in _VISION_INPUTS}
        visual: VisualTokens | None = kwargs.pop("visual", None)
        # Encode here and not in the prefill: the mask that all steps share may depend on how many
        # visual tokens an image has.
        if vision["pixel_values"] is not None or vision["vision_features"] is not None:
            visual = self.model.encode_images(**vision)
        if visual is not None:
            ids = kwargs["input_ids"] if inputs is None else inputs
            kwargs["visual_embeds"], kwargs["prompt_length"] = visual.tokens, ids.shape[1]
            if visual.present is not None:
                mask = kwargs.get("attention_mask")
                kwargs["attention_mask"] = self.model.mask_absent_tokens(ids, mask, visual.present)
        return super().generate(inputs, **kwargs)

    def prepare_inputs_for_generation(
        self, *args: Any, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        if not is_first_iteration and kwargs.get("use_cache", True):
            kwargs.pop("visual_embeds", None)
            kwargs.pop("prompt_length", None)
        return super().prepare_inputs_for_generation(
            *args, is_first_iteration=is_first_iteration, **kwargs
        )

    def use_setting(self, setting: Setting) -> None:
        """Give the present projector's weights to the projector of another setting.

        Raises ValueError when the weights do not fit.
        """
        trained = self.model.multi_modal_projector
        self.config.setting = setting
        weight = next(trained.parameters())
        projector = build_projector(self.config.widths, setting).to(weight.device, weight.dtype)
        try:
            projector.load_state_dict(trained.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"{setting.method} cannot use these projector weights: {error}"
            ) from None
        self.model.multi_modal_projector = projector.train(trained.training)
        self.select_attention_kernels()

    def select_attention_kernels(self) -> None:
        """Make the LLM return its attention if the method reads it; otherwise keep the fast kernels."""
        if "llm_attention" in self.model.multi_modal_projector.needs:
            self.model.language_model.set_attn_implementation("eager")

    def initialise_projector(self, seed: int) -> None:
        """Draw new projector weights by the method's own rule, the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            projector = build_projector(self.config.widths, self.config.setting)
        self.model.multi_modal_projector = projector.to(self.dtype)
        self.select_attention_kernels()
