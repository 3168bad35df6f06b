"""Released backbones from the Hugging Face hub: a pinned revision, and no file that could run code."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vlmscale.architectures import Decoder, Tower, find, load_architectures
from vlmscale.errors import UserError
from vlmscale.provenance import atomic_path, read_json, versions, write_json
from vlmscale.resources import resource
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
    _download(backbone, FILES, work)
    if pickled and not any(work.glob("*.safetensors")):
        _download(backbone, (PICKLES,), work)
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
    about = {"kind": "released", **backbone.model_dump(), "files": files, "versions": versions()}
    write_json(record, about if converted is None else {**about, "converted": converted})


def _download(backbone: Released, patterns: Sequence[str], work: Path) -> None:
    import huggingface_hub

    where = f"{backbone.repository} at {backbone.revision}"
    try:
        huggingface_hub.snapshot_download(
            backbone.repository,
            revision=backbone.revision,
            allow_patterns=list(patterns),
            local_dir=work,
        )
    except OSError as error:  # of the hub's own errors, too, all are
        raise UserError(
            f"{where} could not be fetched: {error}\nFetching needs the network: run this rule on a "
            f"machine that reaches the hub, with HF_TOKEN set where a repository asks for a login. What "
            f"has arrived is kept in {work}, and the rest follows when you run again."
        ) from None


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
        [sys.executable, "-m", "vlmscale.convert", str(work), str(made), *kinds],
        env={**{k: os.environ[k] for k in kept if k in os.environ}, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().rpartition("error: ")[2] or f"status {done.returncode}"
        raise UserError(f"converting {work} failed: {said}")
    return dict(json.loads(done.stdout))


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
