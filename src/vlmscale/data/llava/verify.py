"""Verify a downloaded file by size, checksum and structure.

A `.json` record beside the file keeps what was verified. Where no checksum is published, the first
download is trusted and later ones must equal it.
"""

import codecs
import zipfile
from pathlib import Path
from typing import Any

from vlmscale.data.llava.sources import RECORDS, Source
from vlmscale.records.files import read_json, write_json
from vlmscale.records.signature import compute_sha256

# The first bytes of formats that images are also packed in.
_FORMATS = {
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
}


class DownloadError(Exception):
    """A file cannot be downloaded or is not the right one; the message says why."""


def add_suffix(file: Path, suffix: str) -> Path:
    """Return `file` with `suffix` after its name."""
    return file.with_name(file.name + suffix)


def read_record(file: Path) -> dict[str, Any]:
    """Return url, revision, sha256, bytes and checked_by of a verified file; {} if there is none."""
    record = add_suffix(file, ".json")
    return read_json(record) if record.exists() else {}


def is_verified(source: Source, folder: Path) -> bool:
    """Return whether the file exists with the size and checksum of its record."""
    file = folder / source.file
    record = read_record(file)
    return (
        bool(record)
        and file.exists()
        and file.stat().st_size == record["bytes"]
        and source.sha256 in (None, record["sha256"])
    )


def verify(
    content: Path,
    file: Path,
    source: Source,
    *,
    url: str | None = None,
    revision: str | None = None,
    sha256: str | None = None,
) -> None:
    """Verify `content`, which is to become `file`, and write the record of `file`.

    url, revision: where it came from, if it was downloaded. sha256: its checksum on the hub, if known.
    Raises DownloadError.
    """
    size, record = content.stat().st_size, add_suffix(file, ".json")
    if source.bytes not in (None, size):
        raise DownloadError(f"it has {size:,} bytes instead of {source.bytes:,}")
    actual = compute_sha256(content)
    expected = {
        "resources/datasets.csv": source.sha256,
        "the hub": sha256,
        f"{record}, written at the first download": read_record(file).get("sha256"),
    }
    for place, checksum in expected.items():
        if checksum not in (None, actual):
            raise DownloadError(f"its SHA-256 is {actual}, not {checksum} as in {place}")
    is_package = file.suffix == ".deb"  # neither, and its checksum is in the table
    if not is_package and source.holds != RECORDS and not zipfile.is_zipfile(content):
        kind = _name_format(content)
        cure = f", but {kind}: pack its images anew by zip -0" if kind else ""
        raise DownloadError(f"it is no zip archive{cure}")
    if not is_package and source.holds == RECORDS and not _is_json_list(content):
        raise DownloadError("it is no JSON list in UTF-8")
    checked_by = next((place for place, checksum in expected.items() if checksum), "first use")
    origin = {"url": url, "revision": revision}
    write_json(record, {"sha256": actual, "bytes": size, "checked_by": checked_by, **origin})


def _name_format(content: Path) -> str | None:
    with content.open("rb") as file:
        head = file.read(512)
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((name for start, name in _FORMATS.items() if head.startswith(start)), None)


def _is_json_list(content: Path) -> bool:
    """Return whether the file begins and ends as a JSON list does; an error page does not."""
    with content.open("rb") as file:
        start = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        file.seek(max(0, content.stat().st_size - 64))
        return start == b"[" and file.read().rstrip()[-1:] == b"]"
