"""Checksums: files that hold their own, and folders with one for every file.

A disk, a copy or an edit can change a result without making it unreadable. A signed file has the SHA-256 of
its bytes in its metadata, computed with zeros in that place.
"""

import hashlib
import re
from pathlib import Path

from vlmscale.errors import Damaged, UserError

RERUN = "Delete it and run again."
_ZEROS = b"0" * 64
# What the metadata of a file has to hold before it is signed, as strings.
UNSIGNED = {"own_sha256": _ZEROS.decode()}
_SIGNATURE = re.compile(rb'"own_sha256": ?"([0-9a-f]{64})"')


def sign(content: bytes) -> bytes:
    """Return `content` with its checksum in place of UNSIGNED's zeros."""
    return content.replace(_ZEROS, hashlib.sha256(content).hexdigest().encode())


def read_signed(file: Path, remedy: str = RERUN, *, required: bool = False) -> bytes:
    """Read a file. Raises Damaged, ending with `remedy`, if it is not what was signed.

    Files without a signature are read as they are, unless `required`.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        cure = remedy if file.exists() else "Run again: what makes it does so."
        raise UserError(f"{file} cannot be read: {error.strerror}. {cure}") from None
    found = _SIGNATURE.search(content)
    if found is None and (required or b"own_sha256" in content):
        raise Damaged(f"{file} is damaged or was not made by this version.", remedy, file)
    if found is not None:
        zeroed = content.replace(found[1], _ZEROS)
        if hashlib.sha256(zeroed).hexdigest().encode() != found[1]:
            raise Damaged(f"{file} is damaged: its content is not what was written.", remedy, file)
    return content


def compute_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def compute_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in `folder` and below, by its path there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): compute_sha256(file) for file in files}


def find_damage(folder: Path, checksums: dict[str, str]) -> str | None:
    """Return the first of the files in `checksums` that is missing or has changed; None if none is."""
    for name, expected in checksums.items():
        if not (folder / name).is_file() or compute_sha256(folder / name) != expected:
            return name
    return None
