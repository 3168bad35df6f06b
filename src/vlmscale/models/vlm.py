"""The vision-language model of every cell: a frozen tower, a projector and an LLM."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationConfig, LlavaForConditionalGeneration
from transformers.generation import GenerationMode
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast

from vlmscale.errors import UserError
from vlmscale.models.config import VlmConfig
from vlmscale.models.conversation import IGNORED
from vlmscale.models.projectors.base import build_projector
from vlmscale.models.supervised_forward import shift_labels
from vlmscale.models.vlm_model import VlmModel
from vlmscale.settings import Setting

# b sequences, i images in the batch (i <= b: a sequence may have none), t tokens, q question tokens,
# n LLM width, s supervised positions

_MODES = (
    GenerationMode.GREEDY_SEARCH,
    GenerationMode.SAMPLE,
    GenerationMode.BEAM_SEARCH,
    GenerationMode.BEAM_SAMPLE,
)

_CARD = """---
library_name: transformers
pipeline_tag: image-text-to-text
---
A vision-language model: {setting}, prompts by the template "{template}".

transformers does not know its model type, `vlmscale`, by itself: install the package of that name with its
extra `train` (from the repository that trained this model), and import it before you open this folder.

```python
import vlmscale.models
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("this folder")
processor = AutoProcessor.from_pretrained("this folder")
inputs = processor.ask("scene.png", "how many ?")
print(processor.decode_answers(inputs, model.generate(**inputs, max_new_tokens=32)))
```
"""


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
        attention_mask: Tensor | None = None,
        visual_embeds: Tensor | None = None,
        visual_context: Tensor | None = None,
        prompt_length: int | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> LlavaCausalLMOutputWithPast:
        """Return logits, and the loss where there are labels.

        input_ids, attention_mask, labels (b, t). Images come as visual_embeds (all visual tokens, n), in
        the order of the sequences that have one, with the visual_context (images, p, n) of a method that
        makes it, or as the arguments of `VlmModel.encode_images`. With k visual_token_counts every sequence
        stands k times, once per count. prompt_length: where generated text begins, if the sequences hold
        some.

        In training with labels, logits are those of the supervised positions, (s, vocabulary).
        Raises ValueError when the numbers of placeholders and visual tokens differ.
        """
        supervised, next_labels = None, None
        if labels is not None and self.training:
            next_labels = shift_labels(labels)
            supervised = next_labels != IGNORED
            next_labels = next_labels[supervised]
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            visual_embeds=visual_embeds,
            visual_context=visual_context,
            prompt_length=prompt_length,
            past_key_values=past_key_values,
            supervised=supervised,
            answers=None if labels is None else labels != IGNORED,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state[..., -logits_to_keep:, :])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.text_config.vocab_size,
                num_items_in_batch=num_items_in_batch,
                shift_labels=next_labels,
            )
        return LlavaCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate answers as transformers' own generate does: greedily, by sampling or with beams.

        Takes images and questions as `forward` does, or `visual`, what `model.encode_images` gave for
        them. `prompt_cache` (prompt_cache.py) replaces input_ids. Raises UserError for other ways to
        generate, and for placeholders that do not fit the images.
        """
        if kwargs.get("inputs_embeds") is not None:
            raise UserError(
                "generate: pass input_ids, whose placeholders say where images belong, not inputs_embeds"
            )
        prompt = kwargs.pop("prompt_cache", None)
        if prompt is not None:
            kwargs = prompt.fill_arguments(inputs, kwargs)
        self._refuse_other_inputs(kwargs)
        # Encode here and not in the prefill: the mask that all steps share may depend on how many
        # visual tokens an image has.
        visual = self.model.encode_given(kwargs) or kwargs.pop("visual", None)
        self._refuse_other_modes(generation_config, kwargs)
        ids = kwargs.get("input_ids") if inputs is None else inputs
        if visual is not None:
            self.model.find_places(ids, visual.tokens, None)
            kwargs["visual_embeds"] = visual.tokens
            if visual.context is not None:
                kwargs["visual_context"] = visual.context
            if visual.present is not None:
                mask = kwargs.get("attention_mask")
                kwargs["attention_mask"] = self.model.mask_absent_tokens(ids, mask, visual.present)
        if ids is not None:
            kwargs["prompt_length"] = ids.shape[1]
        return super().generate(inputs, generation_config, **kwargs)

    def _refuse_other_inputs(self, kwargs: dict[str, Any]) -> None:
        """Raise UserError for pixels that are no images of the tower's size, and right padding."""
        pixels, mask = kwargs.get("pixel_values"), kwargs.get("attention_mask")
        if pixels is not None:
            side = self.config.vision_config.image_size
            if tuple(pixels.shape[1:]) != (3, side, side):
                raise UserError(
                    f"generate: pixel_values are of shape {tuple(pixels.shape)}, not (i, 3, {side}, "
                    f"{side}). Make them with the model's own processor."
                )
            if not pixels.isfinite().all():
                raise UserError("generate: pixel_values hold NaN or infinite values")
        if mask is not None and mask.ndim == 2 and not mask[:, -1].all():
            raise UserError(
                "generate: inputs are padded on the right, so answers would follow the padding. Pad them "
                "on the left, as the model's own processor does."
            )

    def _refuse_other_modes(
        self, generation_config: GenerationConfig | None, kwargs: dict[str, Any]
    ) -> None:
        """Raise UserError for what would put visual tokens into wrong places, or leave them out."""
        settings, _ = self._prepare_generation_config(generation_config, **kwargs)
        mode = settings.get_generation_mode(kwargs.get("assistant_model"))
        refused = {
            f"mode {mode.value}": mode not in _MODES,
            "custom_generate": kwargs.get("custom_generate") is not None,
            "cache_implementation='paged'": settings.cache_implementation == "paged",
            "prefill_chunk_size": settings.prefill_chunk_size is not None,
            "token_healing": settings.token_healing,
        }
        if found := [name for name, is_set in refused.items() if is_set]:
            raise UserError(
                f"generate: {', '.join(found)} is not supported with images. Generate greedily, by "
                "sampling, or with beams (num_beams, num_return_sequences)."
            )

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Repeat each sequence `expand_size` times, with the visual tokens of its own image."""
        mask, cache = kwargs.get("attention_mask"), kwargs.get("past_key_values")
        positions = kwargs.get("position_ids")
        if positions is None and mask is not None and (mask.cummax(dim=1).values != mask).any():
            # Absent visual tokens take no position, as in training.
            kwargs["position_ids"] = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        visual = kwargs.pop("visual_embeds", None)
        if visual is not None:
            counts = (input_ids == self.config.image_token_index).sum(dim=1).tolist()
            repeated = [own for own in visual.split(counts) for _ in range(expand_size)]
            visual = {"visual_embeds": torch.cat(repeated)}
            if (context := kwargs.pop("visual_context", None)) is not None:
                visual["visual_context"] = context.repeat_interleave(expand_size, dim=0)
        if expand_size > 1 and cache is not None:
            cache.batch_repeat_interleave(expand_size)
        input_ids, kwargs = super()._expand_inputs_for_generation(
            expand_size, input_ids=input_ids, **kwargs
        )
        return input_ids, kwargs | (visual or {})

    def _valid_auto_compile_criteria(self, *args: Any, **kwargs: Any) -> bool:
        return False  # a static cache would compile steps, with the hooks of methods inside the LLM

    def prepare_inputs_for_generation(
        self, *args: Any, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        if not is_first_iteration and kwargs.get("use_cache", True):
            kwargs.pop("visual_embeds", None)
            kwargs.pop("visual_context", None)
            kwargs.pop("prompt_length", None)
        return super().prepare_inputs_for_generation(
            *args, is_first_iteration=is_first_iteration, **kwargs
        )

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save as transformers does, with a README.md that says how to open the folder."""
        super().save_pretrained(save_directory, *args, **kwargs)
        card = _CARD.format(setting=self.config.setting, template=self.config.template)
        (Path(save_directory) / "README.md").write_text(card)

    def count_llm_parameters(self) -> int:
        """Count the LLM's parameters, embeddings included."""
        llm = sum(p.numel() for p in self.model.language_model.parameters())
        return llm + (0 if self.config.tie_word_embeddings else self.lm_head.weight.numel())

    def use_setting(self, setting: Setting) -> None:
        """Give the present projector's weights to the projector of another setting.

        Raises UserError when the weights do not fit, or the method cannot give the token count.
        """
        trained = self.model.multi_modal_projector
        weight = next(trained.parameters())
        try:
            projector = build_projector(self.config.widths, setting).to(weight.device, weight.dtype)
            projector.load_state_dict(trained.state_dict())
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"a model trained with {self.config.method} cannot serve {setting.method}: {error}"
            ) from None
        self.config.setting = setting
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
