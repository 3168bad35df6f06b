"""Is a downloaded file what it should be? Its size, checksum and structure say so.

A `.json` beside the file keeps what it was found to be. Where no checksum is known beforehand the first
download is trusted, and later ones must equal it.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from vlmscale.data.llava.sources import RECORDS, Source
from vlmscale.records.files import read_json, write_json


class DownloadError(Exception):
    """An address does not give the file, or none does; the message says why."""


def read_record(file: Path) -> dict[str, Any] | None:
    """What is known of a whole file: url, sha256, bytes, revision, checked_by; None before the first
    download.
    """
    record = _record(file)
    return read_json(record) if record.exists() else None


def is_verified(source: Source, folder: Path) -> bool:
    """Whether the file is there as it was when it was checked."""
    file, record = folder / source.file, read_record(folder / source.file)
    return (
        record is not None
        and file.exists()
        and file.stat().st_size == record["bytes"]
        and source.sha256 in (None, record["sha256"])
    )


def verify(content: Path, file: Path, source: Source, promised: str | None) -> dict[str, Any]:
    """Size and checksum of `content`, which is to be `file`. Raises Unusable if they are wrong."""
    size = content.stat().st_size
    if source.bytes not in (None, size):
        raise DownloadError(f"it has {size:,} bytes instead of {source.bytes:,}")
    with content.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    earlier = read_record(file) or {}
    expected = {
        "resources/datasets.csv": source.sha256,
        "the hub": promised,
        f"{_record(file)}, written at the first download": earlier.get("sha256"),
    }
    for whose, checksum in expected.items():
        if checksum not in (None, sha256):
            raise DownloadError(f"its SHA-256 is {sha256}, not {checksum} as in {whose}")
    if not _has_its_structure(content, source):
        raise DownloadError(
            "it is no zip archive" if source.holds != RECORDS else "it is no JSON list"
        )
    by = next((whose for whose, checksum in expected.items() if checksum), "first use")
    return {"sha256": sha256, "bytes": size, "checked_by": by}


def _has_its_structure(content: Path, source: Source) -> bool:
    """Whether it begins and ends as its kind does: an error page does not."""
    if source.holds != RECORDS:
        return zipfile.is_zipfile(content)
    with content.open("rb") as file:
        begins = file.read(64).lstrip()[:1]
        file.seek(max(0, content.stat().st_size - 64))
        return begins == b"[" and file.read().rstrip()[-1:] == b"]"


def write_record(file: Path, found: dict[str, Any], url: str | None, revision: str | None) -> None:
    """Remember what `checked` has found, and where the file came from; None: somebody put it there."""
    write_json(_record(file), {**found, "url": url, "revision": revision})


def _record(file: Path) -> Path:
    return add_suffix(file, ".json")


def add_suffix(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)
