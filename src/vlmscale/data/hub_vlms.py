"""Fetch released VLMs from the Hugging Face hub: weights, configs and tokenizers, no code."""

import shutil
from pathlib import Path
from typing import Any

from vlmscale.costs.shapes import DECODER_KEYS, Decoder, find_shape, load_shapes
from vlmscale.data.hub import FILES, download_files, explain_hub_errors, get_endpoint
from vlmscale.errors import UserError
from vlmscale.records.files import atomic_folder, list_versions, read_json, write_json
from vlmscale.settings.vlms import ReleasedVlm, VlmFamily

# The model_type of each family's config.json in transformers.
_KINDS: dict[VlmFamily, str] = {
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
    "internvl3": "internvl",
    "internvl3_5": "internvl",
    "llava_onevision": "llava_onevision",
}
_VOCABULARY = ("vocabulary", "tied_head")  # VLMs add tokens; N counts neither


def fetch_vlm(model: ReleasedVlm, folder: Path, record: Path, *, work: Path) -> None:
    """Fetch `model` into `folder`, then write `record`. Downloads are kept in `work` until complete.

    Without a revision, the newest is fetched; the record names it. Raises UserError when the hub cannot be
    reached, a part is missing, or the model is not of the family and the LLM that the study says.
    """
    revision = model.revision or _find_newest(model.repository, work)
    download_files(model.repository, revision, FILES, work, kind="model")
    _check(model, revision, work)
    shutil.rmtree(work / ".cache", ignore_errors=True)  # the hub's own notes of the download
    with atomic_folder(folder) as scratch:
        for file in work.iterdir():
            shutil.move(file, scratch)
        files = {file.name: file.stat().st_size for file in sorted(scratch.iterdir())}
    shutil.rmtree(work)
    about = {"kind": "evaluated", **model.model_dump(), "revision": revision, "files": files}
    write_json(record, {**about, "versions": list_versions()})


def _find_newest(repository: str, work: Path) -> str:
    from huggingface_hub import HfApi

    with explain_hub_errors(repository, work):
        return str(HfApi(endpoint=get_endpoint()).model_info(repository).sha)


def _check(model: ReleasedVlm, revision: str, work: Path) -> None:
    where = f"{model.repository} at {revision}"
    for parts in (("config.json",), ("*.safetensors",), ("tokenizer.json", "tokenizer.model")):
        if not any(file for part in parts for file in work.glob(part)):
            raise UserError(f"{where} has no {' or '.join(parts)}. Name one that has.")
    config = read_json(work / "config.json")
    if (kind := config.get("model_type")) != _KINDS[model.family]:
        raise UserError(
            f"{where}: model_type is {kind} in its config.json, but models of family {model.family} are "
            f"{_KINDS[model.family]}. Name the repository in transformers' format, or the family that fits."
        )
    text: dict[str, Any] = config.get("text_config", config)  # Qwen2.5-VL's had no part for text
    shape = find_shape(load_shapes(), model.llm, Decoder)
    for field, key in DECODER_KEYS.items():
        expected = getattr(shape, field)
        if field not in _VOCABULARY and text.get(key, expected) != expected:
            raise UserError(
                f"{where}: {key} of its LLM is {text[key]} in its config.json, but {expected} for "
                f"{model.llm} in resources/backbones. Name the LLM that fits."
            )
