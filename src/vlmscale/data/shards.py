"""Splits on disk: a folder of Parquet shards and the manifest.json that says what they hold.

One row is one sample in the LLaVA format: an image or none, and a conversation whose turns are
{"from": "human" | "gpt", "value": text}; `<image>` in the first human turn marks the image's place.
The manifest is written last, so its presence means that the split is complete.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value

from vlmscale.errors import UserError
from vlmscale.records.files import atomic_path, read_json, write_json

SAMPLE = Features(
    {
        "id": Value("string"),
        "image": Image(),
        "image_key": Value("string"),
        "conversations": List({"from": Value("string"), "value": Value("string")}),
    }
)
# The tower's training data: the class of every patch, row by row.
TAGGED = Features(
    {
        "id": Value("string"),
        "image": Image(),
        "colour": List(Value("int8")),
        "shape": List(Value("int8")),
        "letter": List(Value("int8")),
    }
)
# One question of a benchmark.
QUESTION = Features(
    {
        "id": Value("string"),
        "image": Image(),
        "image_key": Value("string"),
        "question": Value("string"),
        "answer": Value("string"),
    }
)


_GROUP_ROWS, _GROUP_BYTES = 256, 2**20


def write_split(
    folder: Path,
    shards: Mapping[str, Iterable[Mapping[str, Any]]],
    features: Features,
    about: Mapping[str, Any],
) -> None:
    """Write each of `shards` (name -> rows) and a manifest with counts, checksums and `about`."""
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        names = []
        for name, rows in shards.items():
            file = scratch / f"{name}.parquet"
            table = pa.Table.from_pylist(list(rows), schema=features.arrow_schema)
            pq.write_table(table, file, row_group_size=_group_rows(table), write_page_checksum=True)
            names.append(file.name)
        write_manifest(scratch, names, about)


def _group_rows(table: pa.Table) -> int:
    """Rows of a row group: small ones, since that much is read and decompressed to get one image."""
    return max(1, min(_GROUP_ROWS, len(table) * _GROUP_BYTES // max(1, table.nbytes)))


def write_manifest(folder: Path, names: Sequence[str], about: Mapping[str, Any]) -> None:
    """Declare the Parquet files `names` of `folder` complete: counts, checksums and `about`."""
    records = {
        name: {
            "rows": pq.read_metadata(folder / name).num_rows,
            "bytes": (folder / name).stat().st_size,
            "sha256": _sha256(folder / name),
        }
        for name in names
    }
    total = sum(record["rows"] for record in records.values())
    write_json(folder / "manifest.json", {**about, "rows": total, "shards": records})


def list_shards(folder: Path, *, checksum: bool = False) -> list[Path]:
    """The split's shards in order, after checking them against the manifest.

    Sizes are always checked; `checksum` also reads every byte. Raises UserError naming the file.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise UserError(f"{folder} holds no manifest.json: the split is missing or incomplete.")
    files = []
    for name, record in sorted(read_json(manifest)["shards"].items()):
        file = folder / name
        if not file.exists():
            raise UserError(f"{file} is missing. {format_remedy(folder)}")
        if file.stat().st_size != record["bytes"]:
            raise UserError(
                f"{file} is damaged: {file.stat().st_size} bytes, the manifest says "
                f"{record['bytes']}. {format_remedy(folder)}"
            )
        if checksum and _sha256(file) != record["sha256"]:
            raise UserError(
                f"{file} is damaged: its checksum is not the manifest's. {format_remedy(folder)}"
            )
        files.append(file)
    return files


def format_remedy(folder: Path) -> str:
    """What to do about a damaged split."""
    return f"Delete {folder} and run again: the split will be made anew."


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_unique_images(folder: Path) -> list[tuple[str, bytes]]:
    """(image key, file content) of every different image of a split that has image keys."""
    found: dict[str, bytes] = {}
    for file in list_shards(folder, checksum=True):
        table = pq.read_table(file, columns=["image", "image_key"])
        for image, key in zip(table["image"], table["image_key"], strict=True):
            if key.as_py() is not None and key.as_py() not in found:
                found[key.as_py()] = image["bytes"].as_py()
    return list(found.items())
