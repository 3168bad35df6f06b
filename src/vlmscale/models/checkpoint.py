"""Assemble a VLM from its backbones, and load trained models, checked before use."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionModel,
    Dinov2Model,
    Dinov2WithRegistersModel,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipVisionModel,
)

from vlmscale.errors import Damaged, UserError
from vlmscale.models.config import VlmConfig
from vlmscale.models.pixels import fit_image_processor
from vlmscale.models.processor import VlmProcessor
from vlmscale.models.templates import TEMPLATES
from vlmscale.models.tower import find_image_side, resize_tower
from vlmscale.models.vlm import Vlm
from vlmscale.records.files import check_folder_content, read_json
from vlmscale.records.signature import RERUN
from vlmscale.settings import IMAGE_TOKEN, PromptLayout, Setting
from vlmscale.settings.towers import find_tower_family

_LLAMA_PAD = "<|finetune_right_pad_id|>"
_REMEDY = "Delete the folder and run again to make it anew."


def check_folder(folder: Path, *extra: str) -> None:
    """Raise UserError unless `folder` has config.json, complete weight files, and the files `extra`.

    All of them are read where the folder has checksums.
    """
    index, weights = folder / "model.safetensors.index.json", ["model.safetensors"]
    if index.exists():
        with _explain_failure(folder):
            weights = sorted(set(read_json(index)["weight_map"].values()))
    for name in ("config.json", *weights, *extra):
        if not (folder / name).is_file():
            raise Damaged(
                f"{folder} is not a complete model folder: {name} is missing.", _REMEDY, folder
            )
    try:
        for name in weights:
            check_safetensors(folder / name)
    except Damaged as error:
        raise Damaged(error.problem, _REMEDY, folder) from None
    check_folder_content(folder)


def check_safetensors(file: Path) -> None:
    """Raise UserError unless `file` is a complete safetensors file. Reads only its header."""
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{file} is damaged: {error}.", RERUN, file) from None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer exactly as tokenizer.json describes it.

    AutoTokenizer would replace the folder's pre-tokenizer by the one of its model type (docs/upstream.md),
    and so misread a tokenizer that a study trained.
    """
    with _explain_failure(folder):
        return PreTrainedTokenizerFast.from_pretrained(folder)


def load_tower(folder: Path, image_size: int | None = None) -> tuple[PreTrainedModel, Any]:
    """Load a vision tower and the image processor that makes its images, squares of `image_size` pixels.

    image_size: by default the tower's own; for another the tower's positions are interpolated. Raises
    UserError for a folder that is not whole, and for a tower of another family than settings/towers.py has.
    """
    check_folder(folder, "preprocessor_config.json")
    with _explain_failure(folder):
        config = read_json(folder / "config.json")
        kind = config["model_type"]
    # Checkpoints of text and images name both; their vision part has a model_type of its own.
    kind = f"{kind}_vision_model" if "vision_config" in config else kind
    find_tower_family(kind)
    tower = _load_weights(_TOWERS[kind], folder, **_WITHOUT_HEAD.get(kind, {}))
    with _explain_failure(folder):
        processor = AutoImageProcessor.from_pretrained(
            folder, backend="pil", trust_remote_code=False
        )
    resize_tower(tower, image_size or find_image_side(tower.config))
    fit_image_processor(processor, find_image_side(tower.config))
    return tower, processor


_TOWERS: dict[str, type[PreTrainedModel]] = {
    "clip_vision_model": CLIPVisionModel,
    "siglip_vision_model": SiglipVisionModel,
    "dinov2": Dinov2Model,
    "dinov2_with_registers": Dinov2WithRegistersModel,
}
# What no projector reads is not loaded.
_WITHOUT_HEAD = {"siglip_vision_model": {"vision_use_head": False}}


@contextmanager
def _explain_failure(folder: Path) -> Iterator[None]:
    """Raise UserError for whatever transformers raises on the files of `folder`."""
    try:
        yield
    except Damaged as error:
        problem = f"{folder} cannot be opened as a model: {error.problem}"
        raise Damaged(problem, _REMEDY, folder) from None
    except UserError as error:
        raise UserError(f"{folder} cannot be opened as a model: {error}") from None
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (
        Exception
    ) as error:  # each reader of configs, tokenizers and weights raises what it meets
        reason = str(error).strip().partition("\n")[0]
        raise Damaged(
            f"{folder} cannot be opened as a model: {type(error).__name__}: {reason}.",
            _REMEDY,
            folder,
        ) from error


def _load_weights(kind: Any, folder: Path, **changes: Any) -> Any:
    """Load a model with every tensor from `folder`, and without running code that the folder names.

    changes: keys of its config.
    """
    with _explain_failure(folder):
        model, info = kind.from_pretrained(
            folder, trust_remote_code=False, output_loading_info=True, **changes
        )
    absent = sorted(info["missing_keys"]) + [str(key) for key in info["mismatched_keys"]]
    if absent:
        raise Damaged(
            f"{folder} lacks {len(absent)} tensors of a {type(model).__name__}, such as {absent[0]}, or "
            "they have another shape.",
            _REMEDY,
            folder,
        )
    for name, tensor in model.named_parameters():
        if not tensor.isfinite().all():
            raise Damaged(
                f"{folder}: {name} has values that are no finite numbers.", _REMEDY, folder
            )
    return model


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
    image_size: int | None = None,
    prompt_layout: PromptLayout = "image_first",
) -> tuple[Vlm, VlmProcessor]:
    """Assemble a VLM from an LLM folder and a tower folder.

    `seed` decides the projector's weights, and the embedding of `<image>` if the LLM has none. image_size:
    see load_tower. prompt_layout: what the processor puts first in a prompt.
    """
    check_folder(llm, "tokenizer.json")
    vision, image_processor = load_tower(tower, image_size)
    tokenizer = load_tokenizer(llm)
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    if tokenizer.pad_token is None:  # which Llama 3 does not name; masks hide it wherever it stands
        known = tokenizer.get_vocab()
        tokenizer.pad_token = _LLAMA_PAD if _LLAMA_PAD in known else tokenizer.eos_token
    language = _load_weights(AutoModelForCausalLM, llm)
    if len(tokenizer) > language.config.vocab_size:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # for the new row
            language.resize_token_embeddings(len(tokenizer))
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
        eos_token_id=_find_stop_tokens(llm, tokenizer, template),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    model.initialise_projector(seed)
    processor = VlmProcessor(
        image_processor, tokenizer, template=template, prompt_layout=prompt_layout
    )
    _fit_processor(processor, model)
    return model, processor


def load(folder: Path) -> tuple[Vlm, VlmProcessor]:
    """Load a trained model. Raises UserError when a file of it is missing or damaged."""
    check_folder(folder, "tokenizer.json", "processor_config.json")
    model = _load_weights(AutoModelForImageTextToText, folder)
    with _explain_failure(folder):
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    if not (isinstance(model, Vlm) and isinstance(processor, VlmProcessor)):
        raise UserError(
            f"{folder} holds a {type(model).__name__} and a {type(processor).__name__}, not a model that "
            "vlmscale trained."
        )
    return model, processor


def use_setting(model: Vlm, processor: VlmProcessor, setting: Setting) -> None:
    """Turn a trained model and its processor to another method or token count: see Vlm.use_setting."""
    model.use_setting(setting)
    _fit_processor(processor, model)


def _find_stop_tokens(
    llm: Path, tokenizer: PreTrainedTokenizerFast, template: str
) -> int | list[int]:
    """Return the tokens that end an answer: the template's, and the tokenizer's own if that is another."""
    end = TEMPLATES[template].answer_close
    ids = tokenizer(end, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise UserError(
            f"{llm}: template {template} ends answers with {end}, which is not one token of this LLM's "
            "tokenizer. Choose the LLM's own template."
        )
    own = tokenizer.eos_token_id
    return ids[0] if own in (None, ids[0]) else [ids[0], own]


def _fit_processor(processor: VlmProcessor, model: Vlm) -> None:
    projector = model.model.multi_modal_projector
    processor.visual_tokens = projector.placeholders
    processor.reads_question = projector.reads_question
