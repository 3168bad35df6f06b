"""Splits on disk: a folder of Parquet shards and the manifest.json that describes them.

A row is a sample in LLaVA's format: an image or none, and a conversation whose turns are
{"from": "human" | "gpt", "value": text}; `<image>` in the first human turn marks the image's place.
The manifest is written last: where it exists, the split is complete.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlmscale.errors import Damaged
from vlmscale.records.files import atomic_path, read_json, write_json
from vlmscale.records.signature import compute_sha256

if TYPE_CHECKING:  # training reads splits and needs no datasets
    from datasets import Features

# Bounds of a row group, which is read and decompressed to get one image.
MAX_GROUP_ROWS, MAX_GROUP_BYTES = 256, 2**20


def write_split(
    folder: Path,
    shards: Mapping[str, Iterable[Mapping[str, Any]]],
    features: "Features",
    about: Mapping[str, Any],
) -> None:
    """Write `shards` (name -> rows) and a manifest with counts, checksums and `about`."""
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        for name, rows in shards.items():
            table = pa.Table.from_pylist(list(rows), schema=features.arrow_schema)
            pq.write_table(
                table,
                scratch / f"{name}.parquet",
                row_group_size=_choose_group_size(table),
                write_page_checksum=True,
            )
        write_manifest(scratch, [f"{name}.parquet" for name in shards], about)


def _choose_group_size(table: pa.Table) -> int:
    return max(1, min(MAX_GROUP_ROWS, len(table) * MAX_GROUP_BYTES // max(1, table.nbytes)))


def write_manifest(folder: Path, names: Sequence[str], about: Mapping[str, Any]) -> None:
    """Declare the Parquet files `names` of `folder` complete: counts, checksums and `about`."""
    records = {
        name: {
            "rows": pq.read_metadata(folder / name).num_rows,
            "bytes": (folder / name).stat().st_size,
            "sha256": compute_sha256(folder / name),
        }
        for name in names
    }
    total = sum(record["rows"] for record in records.values())
    write_json(folder / "manifest.json", {**about, "rows": total, "shards": records})


def list_shards(folder: Path, *, checksum: bool = False) -> list[Path]:
    """Return the split's shards in order, after checking them against the manifest.

    Sizes are always checked; `checksum` also reads every byte. Raises UserError naming the file.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise Damaged(
            f"{folder} has no manifest.json: the split is missing or incomplete.",
            format_remedy(folder),
            folder,
        )
    files = []
    try:
        shards = read_json(manifest)["shards"]
    except Damaged as error:
        raise Damaged(error.problem, format_remedy(folder), folder) from None
    for name, record in sorted(shards.items()):
        file, problem = folder / name, ""
        if not file.exists():
            problem = "missing"
        elif (size := file.stat().st_size) != record["bytes"]:
            problem = f"damaged: {size} bytes, the manifest says {record['bytes']}"
        elif checksum and compute_sha256(file) != record["sha256"]:
            problem = "damaged: its checksum is not the manifest's"
        if problem:
            raise Damaged(f"{file} is {problem}.", format_remedy(folder), folder)
        files.append(file)
    return files


def format_remedy(folder: Path) -> str:
    """Return what to do about a damaged split."""
    return f"Delete {folder} and run again to make the split anew."


def read_unique_images(folder: Path) -> list[tuple[str, bytes]]:
    """Return (image key, file content) of every different image of a split that has image keys."""
    images: dict[str, bytes] = {}
    for file in list_shards(folder, checksum=True):
        table = pq.read_table(file, columns=["image", "image_key"])
        for image, key in zip(table["image"], table["image_key"], strict=True):
            if key.as_py() is not None and key.as_py() not in images:
                images[key.as_py()] = image["bytes"].as_py()
    return list(images.items())
