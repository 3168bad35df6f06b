"""Assemble a VLM from its backbones, and load trained models, checked before use."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionModel,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from vlmscale.errors import UserError
from vlmscale.models.config import VlmConfig
from vlmscale.models.processor import VlmProcessor
from vlmscale.models.vlm import Vlm
from vlmscale.records.files import read_json
from vlmscale.settings import IMAGE_TOKEN, Setting


def check_folder(folder: Path, *extra: str) -> None:
    """Raise UserError unless `folder` has config.json, complete weight files, and the files `extra`."""
    index = folder / "model.safetensors.index.json"
    weights = (
        sorted(set(read_json(index)["weight_map"].values()))
        if index.exists()
        else ["model.safetensors"]
    )
    for name in ("config.json", *weights, *extra):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is not a complete model folder: {name} is missing. Delete the folder and run "
                "again to make it anew."
            )
    for name in weights:
        check_safetensors(folder / name)


def check_safetensors(file: Path) -> None:
    """Raise UserError unless `file` is a complete safetensors file. Reads only its header."""
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged: {error}. Delete it and run again.") from None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer exactly as tokenizer.json describes it.

    AutoTokenizer would replace the folder's pre-tokenizer by the one of its model type (docs/upstream.md),
    and so misread a tokenizer that a study trained.
    """
    return PreTrainedTokenizerFast.from_pretrained(folder)


def build_frame(
    text: PreTrainedConfig,
    vision: PreTrainedConfig,
    setting: Setting,
    *,
    image_token: int,
    feature_layers: list[int],
    template: str,
) -> Vlm:
    """Build a VLM of its backbones' shapes on the meta device, without weights.

    image_token: id of `<image>`. Raises ValueError for a token count that the method cannot give.
    """
    config = VlmConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token,
        vision_feature_layer=list(feature_layers),
        template=template,
    )
    config.setting = setting
    with torch.device("meta"):
        return Vlm(config)


def assemble(
    llm: Path,
    tower: Path,
    setting: Setting,
    *,
    feature_layers: list[int],
    template: str,
    seed: int,
) -> tuple[Vlm, VlmProcessor]:
    """Assemble a VLM from an LLM folder and a tower folder.

    `seed` decides the projector's weights, and the embedding of `<image>` if the LLM has none.
    """
    check_folder(llm, "tokenizer.json")
    check_folder(tower, "preprocessor_config.json")
    tokenizer = load_tokenizer(llm)
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    language = AutoModelForCausalLM.from_pretrained(llm)
    if len(tokenizer) > language.config.vocab_size:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # for the new row
            language.resize_token_embeddings(len(tokenizer))
    vision = CLIPVisionModel.from_pretrained(tower)
    # Every part of the frame is replaced below.
    model = build_frame(
        language.config,
        vision.config,
        setting,
        image_token=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        feature_layers=feature_layers,
        template=template,
    )
    model.model.language_model = language.model
    model.model.vision_tower = vision
    model.lm_head = language.lm_head
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    model.initialise_projector(seed)
    processor = VlmProcessor(
        AutoImageProcessor.from_pretrained(tower, backend="pil"),
        tokenizer,
        template=template,
    )
    _fit_processor(processor, model)
    return model, processor


def load(folder: Path) -> tuple[Vlm, VlmProcessor]:
    """Load a trained model. Raises UserError when a file of it is missing or damaged."""
    check_folder(folder, "tokenizer.json", "processor_config.json")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    return model, AutoProcessor.from_pretrained(folder)


def use_setting(model: Vlm, processor: VlmProcessor, setting: Setting) -> None:
    """Turn a trained model into another method, or to another token count.

    Raises UserError when the method cannot use the model's projector weights.
    """
    trained = model.config.method
    try:
        model.use_setting(setting)
    except ValueError as error:
        raise UserError(
            f"a model trained with {trained} cannot serve {setting.method}: {error}"
        ) from None
    _fit_processor(processor, model)


def _fit_processor(processor: VlmProcessor, model: Vlm) -> None:
    projector = model.model.multi_modal_projector
    processor.visual_tokens = projector.placeholders
    processor.reads_question = projector.reads_question
