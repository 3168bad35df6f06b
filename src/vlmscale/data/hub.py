"""Released backbones from the Hugging Face hub: a pinned revision, and no file that could run code."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx2

from vlmscale.architectures import Decoder, Tower, find, load_architectures
from vlmscale.errors import UserError
from vlmscale.provenance import atomic_path, read_json, versions, write_json
from vlmscale.resources import resource
from vlmscale.settings import Released, ReleasedTower

# Weights, configs, chat templates and tokenizers. Pickled weights and modules are never asked for.
FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "tokenizer.model")

# What a config.json calls the columns of resources/architectures.csv.
_KEYS = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "vocabulary": "vocab_size",
    "image_size": "image_size",
    "patch_size": "patch_size",
}


def fetch_backbone(backbone: Released, folder: Path, record: Path, *, work: Path) -> None:
    """Fetch `backbone` into `folder`, then write `record`. What has arrived waits in `work` until all has.

    Raises UserError when the hub or the revision cannot be reached, when it has no weights as
    safetensors, and when its shape is not that of its row in resources/architectures.csv.
    """
    where = f"{backbone.repository} at {backbone.revision}"
    cure = f"What has arrived is kept in {work}, and the rest follows when you run again."
    download(backbone.repository, backbone.revision, FILES, work, kind="model", cure=cure)
    if not (list(work.glob("*.safetensors")) and (work / "config.json").exists()):
        raise UserError(
            f"{where} has no config.json with weights as safetensors; pickled ones are not opened. Name a "
            "revision or a repository that has them."
        )
    _check_shape(backbone, work / "config.json")
    shutil.rmtree(work / ".cache", ignore_errors=True)  # the hub's own notes of the download
    files = {file.name: file.stat().st_size for file in sorted(work.iterdir())}
    with atomic_path(folder) as scratch:
        shutil.move(work, scratch)
    write_json(
        record,
        {"kind": "released", **backbone.model_dump(), "files": files, "versions": versions()},
    )


def download(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    folder: Path,
    *,
    kind: Literal["model", "dataset"],
    cure: str,
) -> None:
    """Bring the files of a repository that match `patterns` to `folder`; see `reached`."""
    import huggingface_hub

    with reached(f"{repository} at {revision}", cure):
        huggingface_hub.snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(patterns),
            local_dir=folder,
            endpoint=endpoint(),
        )


def endpoint() -> str | None:
    """Where the hub is, if it is a mirror."""
    return os.environ.get("HF_ENDPOINT")


@contextmanager
def reached(what: str, cure: str) -> Iterator[None]:
    """Raise UserError, which ends with `cure`, when the hub cannot be reached or does not have `what`."""
    try:
        yield
    except (OSError, httpx2.HTTPError) as error:  # of the hub's own errors, too, all are
        raise UserError(
            f"{what} could not be fetched: {error}\nFetching needs the network: run this rule on a machine "
            f"that reaches the hub, with HF_TOKEN set where a repository asks for a login. {cure}"
        ) from None


def _check_shape(backbone: Released, config: Path) -> None:
    shapes, found = load_architectures(resource("architectures.csv")), read_json(config)
    known: Decoder | Tower
    if isinstance(backbone, ReleasedTower):
        known = find(shapes, backbone.architecture, Tower)
        found = found.get("vision_config", found)  # CLIP's config is of text and vision together
    else:
        known = find(shapes, backbone.architecture, Decoder)
    for column, key in _KEYS.items():
        expected = getattr(known, column, None)  # LLMs have no patches, towers no vocabulary
        if expected is not None and found.get(key, expected) != expected:
            raise UserError(
                f"{backbone.repository}: {key} is {found[key]} in its config.json, but {expected} in "
                f"row {backbone.architecture} of resources/architectures.csv. Name the row that fits."
            )
