"""Texts for people that hold their own checksum, in a comment that no renderer shows."""

from pathlib import Path

from vlmscale.records.files import atomic_path
from vlmscale.records.signature import RERUN, UNSIGNED, read_signed, sign

_COMMENT = '\n<!-- "own_sha256": "{own_sha256}" -->\n'


def write_markdown(path: Path, text: str) -> None:
    """Write `text` atomically in UTF-8, signed: equal texts give equal bytes."""
    with atomic_path(path) as scratch:
        scratch.write_bytes(sign((text + _COMMENT.format_map(UNSIGNED)).encode()))


def read_markdown(path: Path, remedy: str = RERUN) -> str:
    """Read what `write_markdown` wrote. Raises Damaged, ending with `remedy`, for a changed file."""
    content = read_signed(path, remedy, required=True)
    return content[: -len(_COMMENT.format_map(UNSIGNED))].decode()
