"""Transformers folders in and out: backbones put together to a VLM, checkpoints checked before use."""

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
    """Raise UserError unless `folder` has config.json, every weight file, whole, and the files `extra`."""
    index = folder / "model.safetensors.index.json"
    weights = (
        sorted(set(read_json(index)["weight_map"].values()))
        if index.exists()
        else ["model.safetensors"]
    )
    for name in ("config.json", *weights, *extra):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is not a complete checkpoint: {name} is missing. Delete the folder and "
                "run again: it will be made anew."
            )
    for name in weights:
        check_safetensors(folder / name)


def check_safetensors(file: Path) -> None:
    """Raise UserError unless `file` is a whole safetensors file (its header is read, not its data)."""
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged: {error}. Delete it and run again.") from None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer exactly as tokenizer.json describes it.

    AutoTokenizer would override a folder's own pre-tokenizer by the one it knows for the model type
    (for qwen2 with transformers 5.23), and so misread a tokenizer that a study has made itself.
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
    """A VLM of the shapes of its backbones' configs on the meta device, without a weight.

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
    """A VLM from an LLM folder and a tower folder. `seed` decides the projector, and the row of `<image>`
    where the LLM has none.
    """
    check_folder(llm, "tokenizer.json")
    check_folder(tower, "preprocessor_config.json")
    tokenizer = load_tokenizer(llm)
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    language = AutoModelForCausalLM.from_pretrained(llm)
    if len(tokenizer) > language.config.vocab_size:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the new row is drawn
            language.resize_token_embeddings(len(tokenizer))
    vision = CLIPVisionModel.from_pretrained(tower)
    # Only the frame: every part is put in below.
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
    _fit(processor, model)
    return model, processor


def load(folder: Path) -> tuple[Vlm, VlmProcessor]:
    """A trained checkpoint. Raises UserError when a file of it is missing or damaged."""
    check_folder(folder, "tokenizer.json", "processor_config.json")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    return model, AutoProcessor.from_pretrained(folder)


def use_setting(model: Vlm, processor: VlmProcessor, setting: Setting) -> None:
    """Evaluate a trained checkpoint as another method, or at another token count.

    Raises UserError when the method cannot use the checkpoint's projector.
    """
    trained = model.config.method
    try:
        model.use_setting(setting)
    except ValueError as error:
        raise UserError(
            f"a checkpoint trained with {trained} cannot serve {setting.method}: {error}"
        ) from None
    _fit(processor, model)


def _fit(processor: VlmProcessor, model: Vlm) -> None:
    projector = model.model.multi_modal_projector
    processor.visual_tokens = projector.placeholders
    processor.reads_question = projector.reads_question
