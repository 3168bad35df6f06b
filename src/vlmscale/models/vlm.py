"""The vision-language model: a frozen tower, a compressor, an LLM, on transformers' LLaVA classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    Cache,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaModel,
)
from transformers.models.llava.modeling_llava import (
    LlavaCausalLMOutputWithPast,
    LlavaModelOutputWithPast,
)

from vlmscale.models.conversation import IGNORED
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths, build_projector
from vlmscale.models.supervised_forward import compute_supervised_states, shift_labels
from vlmscale.models.tower import (
    compute_last_attention,
    compute_shrunk_patches,
    compute_tower_features,
)
from vlmscale.settings import Setting

# b sequences, i images in the batch (i <= b: a sequence may have none), t tokens, q question tokens,
# p patches, v visual tokens, l selected tower layers, d tower width, n LLM width

# What the images and their questions come in as.
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
    """The compressor's output for a batch, images in order; if there are several counts, count by count."""

    tokens: Tensor  # (sum of counts times i, n)
    present: Tensor | None = None  # as many bools; False: the LLM must not see it


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

    @property
    def widths(self) -> Widths:
        return Widths(
            tower=self.vision_config.hidden_size,
            layers=len(self.layers),
            llm=self.text_config.hidden_size,
            grid_side=self.grid_side,
        )

    @property
    def setting(self) -> Setting:
        return Setting(
            method=self.method,
            visual_tokens=self.visual_tokens,
            options=dict(self.method_options or {}),
        )

    @setting.setter
    def setting(self, setting: Setting) -> None:
        self.method, self.visual_tokens = setting.method, setting.visual_tokens
        self.method_options = dict(setting.options)


class VlmModel(LlavaModel):
    config_class = VlmConfig
    config: VlmConfig

    def __init__(self, config: VlmConfig) -> None:
        # Not LlavaModel's own: it would build a second tower and LLM only to be replaced.
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
        """The compressor's output for each image.

        Either pixel_values (i, 3, h, w) or the tower's stored features (i, 1 + p, l d). question_states
        (i, q, n): of questions that have been read before (see the method of that name), in place of
        question_input_ids. visual_token_counts (k,): what an elastic compressor is to give, one after
        the other.
        """
        projector = self.multi_modal_projector
        features = self._features(
            pixel_values,
            vision_features,
            question_input_ids,
            question_attention_mask,
            question_states,
        )
        own = projector.visual_tokens
        counts = [own] if visual_token_counts is None else visual_token_counts.tolist()
        tokens, kept = [], []
        for count in counts:
            projector.visual_tokens = count
            out = projector(features)
            if isinstance(out, tuple):
                kept.append(out[1].flatten())
                out = out[0]
            tokens.append(out.flatten(0, 1))
        projector.visual_tokens = own
        return VisualTokens(torch.cat(tokens), torch.cat(kept) if kept else None)

    def _features(
        self,
        pixel_values: Tensor | None,
        vision_features: Tensor | None,
        question_input_ids: Tensor | None,
        question_attention_mask: Tensor | None,
        question_states: Tensor | None,
    ) -> VisionFeatures:
        """What the compressor needs, and no more."""
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
        states, mask = None, None
        if "question" in needs or "question_tokens" in needs:
            states, mask = question_states, question_attention_mask
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
            question=_last(states, mask) if "question" in needs else None,
            question_tokens=states if "question_tokens" in needs else None,
            question_mask=mask if "question_tokens" in needs else None,
            cls_attention=attention,
            keys=keys,
            patches_at=self._shrunk(pixel_values) if "pixels" in needs else None,
        )

    def _shrunk(self, pixel_values: Tensor | None) -> Callable[[int], Tensor]:
        if pixel_values is None:
            raise ValueError(
                f"{self.config.method} looks at the image itself: pass pixel_values, not stored features"
            )
        weight = next(self.multi_modal_projector.parameters())
        layer, patch = self.config.layers[-1], self.config.vision_config.patch_size

        def patches_at(side: int) -> Tensor:
            small = compute_shrunk_patches(
                self.vision_tower, pixel_values, pixels=side * patch, layer=layer
            )
            return small.to(weight.dtype)

        return patches_at

    def encode_questions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The LLM's last hidden state on each token of each question, (i, q, n), without gradient.

        input_ids, attention_mask (i, q), padded on the right.
        """
        with torch.no_grad():
            hidden: Tensor = self.language_model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state
        return hidden

    def mask_absent_tokens(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, kept: Tensor
    ) -> Tensor:
        """`attention_mask` (b, t) without the visual tokens that an image does not have."""
        assert input_ids is not None
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.clone()
        mask[input_ids == self.config.image_token_index] = kept.to(mask.dtype)
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
        learned: Tensor | None = None,
        **kwargs: Any,
    ) -> LlavaModelOutputWithPast:
        """As of Vlm. learned: (b, t) bool, for a step of training: last_hidden_state is of these positions
        alone, (learned, n), and nothing else comes out.
        """
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
                    f"the sequences have {wanted} placeholders for visual tokens, but the images "
                    f"give {given}"
                )
            inputs_embeds = inputs_embeds.masked_scatter(
                places.unsqueeze(-1), visual_embeds.to(inputs_embeds.dtype)
            )
        # What acts inside the LLM has to be there in training, too.
        if learned is not None and "llm_attention" not in self.multi_modal_projector.needs:
            states = compute_supervised_states(
                self.language_model,
                inputs_embeds,
                learned,
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
            last_hidden_state=states if learned is None else states[learned],
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def _last(states: Tensor | None, mask: Tensor | None) -> Tensor:
    """(i, q, n) -> (i, n): the state on the last token of each question."""
    assert states is not None
    assert mask is not None
    return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]


class Vlm(LlavaForConditionalGeneration):
    """The model of every cell. generate() encodes the images first; the prefill gets the result."""

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
        """Shapes: input_ids, attention_mask, labels (b, t); pixel_values (i, 3, h, w) or
        vision_features (i, 1 + p, l d), or visual_embeds (all visual tokens, n) encoded before;
        question_input_ids, question_attention_mask (i, q). Images stand in the order of the sequences
        that have one; with k visual_token_counts the sequences stand k times, once for each count.
        prompt_length: where generated text begins, if the sequences hold some.
        In training only those positions are scored whose next token is learned; logits are theirs then,
        (learned, vocabulary). Raises ValueError when placeholders and visual tokens differ in number.
        """
        loss_kwargs = {key: kwargs.pop(key) for key in ("num_items_in_batch",) if key in kwargs}
        learned = None
        if labels is not None and self.training:
            following = shift_labels(labels)
            learned = following != IGNORED
            loss_kwargs["shift_labels"] = following[learned]
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
            learned=learned,
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
        """As transformers' own, with images and questions as in `forward`, or `visual`, what
        `model.encode_images` gave for them.

        Images are encoded here and not in the prefill, because the sequence's mask, which all steps
        share, may depend on how many visual tokens an image has. prompt_cache: a PromptCache
        (prompt_cache.py), the text that each image is asked, in place of input_ids. One answer a sequence,
        without beams: raises ValueError otherwise.
        """
        for setting in ("num_beams", "num_return_sequences"):
            if kwargs.get(setting) not in (None, 1):
                raise ValueError(f"{setting} {kwargs[setting]}: one answer a sequence is generated")
        prompt = kwargs.pop("prompt_cache", None)
        if prompt is not None:
            kwargs = prompt.fill_arguments(inputs, kwargs)
        vision = {name: kwargs.pop(name, None) for name in _VISION_INPUTS}
        visual: VisualTokens | None = kwargs.pop("visual", None)
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
        """Give the present projector's weights to another method, or another token count.

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
        """Let the LLM report its attention to methods that act inside it; others keep the fast kernels."""
        if "llm_attention" in self.model.multi_modal_projector.needs:
            self.model.language_model.set_attn_implementation("eager")

    def initialise_projector(self, seed: int) -> None:
        """Fresh projector weights by the method's own rule, the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            projector = build_projector(self.config.widths, self.config.setting)
        self.model.multi_modal_projector = projector.to(self.dtype)
        self.select_attention_kernels()
