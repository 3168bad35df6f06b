"""Released backbones from the Hugging Face hub: a pinned revision, and no file that could run code."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx2

from vlmscale.costs.shapes import Decoder, Tower, find, load_architectures
from vlmscale.errors import UserError
from vlmscale.records.files import atomic_path, list_versions, read_json, write_json
from vlmscale.resources import find_resource
from vlmscale.settings import Released, ReleasedTower

# Weights, configs, chat templates and tokenizers. Modules are never asked for.
FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "tokenizer.model")
PICKLES = "pytorch_model*.bin"

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


def fetch_backbone(
    backbone: Released, folder: Path, record: Path, *, work: Path, pickled: bool = False
) -> None:
    """Fetch `backbone` into `folder`, then write `record`. What has arrived waits in `work` until all has.

    pickled: where there are no safetensors, make them from pickled weights. Raises UserError when the hub
    or the revision cannot be reached, when it has no weights that may be opened, when an LLM has no
    tokenizer, and when its shape is not that of its row in resources/architectures.csv.
    """
    cure = f"What has arrived is kept in {work}, and the rest follows when you run again."

    def fetch(*patterns: str) -> None:
        download_files(
            backbone.repository, backbone.revision, patterns, work, kind="model", cure=cure
        )

    fetch(*FILES)
    if pickled and not any(work.glob("*.safetensors")):
        fetch(PICKLES)
    _check_files(backbone, work, pickled)
    _check_shape(backbone, work / "config.json")
    shutil.rmtree(work / ".cache", ignore_errors=True)  # the hub's own notes of the download
    with atomic_path(folder) as scratch:
        kinds = _lacking(work)
        converted = _convert(work, scratch, kinds) if kinds else None
        scratch.mkdir(exist_ok=True)
        for file in work.iterdir():
            if not file.name.startswith("pytorch_model"):
                shutil.move(file, scratch)
        files = {file.name: file.stat().st_size for file in sorted(scratch.iterdir())}
    shutil.rmtree(work)
    about = {
        "kind": "released",
        **backbone.model_dump(),
        "files": files,
        "versions": list_versions(),
    }
    write_json(record, about if converted is None else {**about, "converted": converted})


def _check_files(backbone: Released, work: Path, pickled: bool) -> None:
    where = f"{backbone.repository} at {backbone.revision}"
    if not (work / "config.json").exists():
        raise UserError(
            f"{where} has no config.json. Name a revision or a repository that has one."
        )
    weights = ("*.safetensors", PICKLES) if pickled else ("*.safetensors",)
    if not any(file for kind in weights for file in work.glob(kind)):
        raise UserError(
            f"{where} has no weights as safetensors, and pickled ones are not opened unasked. Name a "
            "revision or a repository that has them; or, if you trust its makers, list the backbone under "
            "`pickled` in the study: its weights are then converted, in a process of its own."
        )
    tokenizers = ("tokenizer.json", "tokenizer.model")
    if not (isinstance(backbone, ReleasedTower) or any((work / f).exists() for f in tokenizers)):
        raise UserError(f"{where} has neither of {' and '.join(tokenizers)}. Name one that has.")


def _lacking(work: Path) -> list[str]:
    """The kinds of what convert.py makes that are not there and can be made."""
    there = {
        "weights": any(work.glob("*.safetensors")) or not any(work.glob(PICKLES)),
        "tokenizer": (work / "tokenizer.json").exists() or not (work / "tokenizer.model").exists(),
    }
    return [kind for kind, found in there.items() if not found]


def _convert(work: Path, made: Path, kinds: list[str]) -> dict[str, dict[str, str]]:
    """What convert.py says, run in a process that is given no token and no way to the hub."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
    done = subprocess.run(
        [sys.executable, "-m", "vlmscale.models.convert", str(work), str(made), *kinds],
        env={**{k: os.environ[k] for k in kept if k in os.environ}, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().rpartition("error: ")[2] or f"status {done.returncode}"
        raise UserError(f"converting {work} failed: {said}")
    return dict(json.loads(done.stdout))


def download_files(
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

    with explain_hub_errors(f"{repository} at {revision}", cure):
        huggingface_hub.snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(patterns),
            local_dir=folder,
            endpoint=get_endpoint(),
        )


def get_endpoint() -> str | None:
    """Where the hub is, if it is a mirror."""
    return os.environ.get("HF_ENDPOINT")


@contextmanager
def explain_hub_errors(what: str, cure: str) -> Iterator[None]:
    """Raise UserError, which ends with `cure`, when the hub cannot be reached or does not have `what`."""
    try:
        yield
    except (OSError, httpx2.HTTPError) as error:  # of the hub's own errors, too, all are
        raise UserError(
            f"{what} could not be fetched: {error}\nFetching needs the network: run this rule on a machine "
            f"that reaches the hub, with HF_TOKEN set where a repository asks for a login. {cure}"
        ) from None


def _check_shape(backbone: Released, config: Path) -> None:
    shapes, found = load_architectures(find_resource("architectures.csv")), read_json(config)
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
