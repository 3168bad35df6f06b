"""Models of published shapes, on the meta device or with random weights; and a model's shape."""

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from vlmscale.costs.shapes import Decoder, Tower, read_decoder, read_tower
from vlmscale.models.checkpoint import build_frame
from vlmscale.models.config import VlmConfig
from vlmscale.models.vlm import Vlm
from vlmscale.records.files import read_json
from vlmscale.resources import find_resource
from vlmscale.settings import Setting


def load_backbone_config(name: str) -> PreTrainedConfig:
    """Load the published config of an LLM or vision tower from resources/backbones/`name`.json.

    Raises UserError when there is none.
    """
    values: dict[str, Any] = read_json(find_resource(f"backbones/{name}.json"))["config"]
    return AutoConfig.for_model(**values)


def build_from_shapes(
    llm: str,
    tower: str,
    setting: Setting,
    *,
    feature_layers: list[int],
) -> Vlm:
    """Build the VLM that `assemble` makes from these backbones, on the meta device.

    llm, tower: names in resources/backbones. No tokenizer is read, so `<image>` is the last row of the
    embedding; `assemble` adds a row when the tokenizer uses all of them (Vicuna). Raises UserError for
    an unknown name, ValueError for a token count that the method cannot give.
    """
    text = load_backbone_config(llm)
    return build_frame(
        text,
        load_backbone_config(tower),
        setting,
        image_token=text.vocab_size - 1,
        feature_layers=feature_layers,
        template="plain",
    )


def build_with_random_weights(config: VlmConfig, device: torch.device, dtype: torch.dtype) -> Vlm:
    """Build a model with weights drawn on `device` by each part's own rule."""
    with torch.device(device):
        model: Vlm = Vlm._from_config(config, dtype=dtype)
    return model


def count_llm_parameters(model: Vlm) -> int:
    """Count the LLM's parameters, embeddings included, as run.json does."""
    llm = sum(p.numel() for p in model.model.language_model.parameters())
    return llm + (0 if model.config.tie_word_embeddings else model.lm_head.weight.numel())


def read_decoder_shape(config: VlmConfig) -> Decoder:
    """Return the shape of a model's LLM (Llama or Qwen2)."""
    return read_decoder(config.text_config.to_dict())


def read_tower_shape(config: VlmConfig) -> Tower:
    """Return the shape of a model's vision tower (CLIP)."""
    return read_tower(config.vision_config.to_dict())
