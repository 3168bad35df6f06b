"""The files a dataset is made of: where they come from, what they must be, what may be done with them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlmscale.errors import UserError

RECORDS = "records"  # what the file of conversations holds; other files hold a folder of images


@dataclass(frozen=True)
class Source:
    """One file, a row of resources/datasets.csv.

    Several files may hold the same folder: a later one is asked for what the earlier ones lack.
    """

    dataset: str
    holds: str  # RECORDS, or the folder of the records' image paths whose images are in it
    file: str  # path below the folder of raw files
    urls: tuple[str, ...]  # in the order in which they are tried
    sha256: str | None
    bytes: int | None  # exact
    gigabytes: float  # about, for estimates
    count: int | None  # records, or images
    converted_gigabytes: float  # of the whole dataset once converted, about; with the records
    licence: str


def read_sources(table: Path, dataset: str) -> list[Source]:
    """The files of `dataset`, its records first. Raises UserError if the table does not know it."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [_source(row) for row in rows if row["dataset"] == dataset]
    if not found:
        known = ", ".join(sorted({row["dataset"] for row in rows}))
        raise UserError(f"{dataset} is no dataset of {table}. Choose one of {known}.")
    return sorted(found, key=lambda source: source.holds != RECORDS)


def locate_own_images(raw: Path, source: Source) -> Path:
    """Where one's own images of a dataset lie, below the folder of raw files."""
    return raw / "own" / source.dataset


def match_folder(path: str, folders: Sequence[str]) -> str | None:
    """Which of `folders` an image path of the records lies in; "." takes what no other does."""
    for folder in folders:
        if path.startswith(f"{folder}/"):
            return folder
    return "." if "." in folders else None


def _source(row: dict[str, str]) -> Source:
    return Source(
        dataset=row["dataset"],
        holds=row["holds"],
        file=row["file"],
        urls=(row["url"], *row["mirrors"].split()),
        sha256=row["sha256"] or None,
        bytes=int(row["bytes"]) if row["bytes"] else None,
        gigabytes=float(row["gigabytes"] or 0),
        count=int(row["count"]) if row["count"] else None,
        converted_gigabytes=float(row["converted_gigabytes"] or 0),
        licence=row["licence"],
    )
