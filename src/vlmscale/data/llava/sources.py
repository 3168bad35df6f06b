"""The files a dataset is made of: addresses, checksums, sizes and licences."""

import csv
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vlmscale.errors import UserError

RECORDS = "records"  # `Source.holds` of the file with the conversations


class Source(BaseModel):
    """One file of a dataset: a row of resources/datasets.csv.

    Several files may hold the same folder; the later ones are for images that the earlier ones lack.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    holds: str  # RECORDS, or the folder of the records' image paths whose images are in it
    file: str  # path below the folder of raw files
    urls: tuple[str, ...]  # in the order in which they are tried
    sha256: str | None = None
    bytes: int | None = None  # exact
    gigabytes: float = 0.0  # approximate, for estimates
    count: int | None = None  # records, or images
    converted_gigabytes: float = (
        0.0  # of the dataset after conversion, approximate; in the records' row
    )
    licence: str = ""


def read_sources(table: Path, dataset: str) -> list[Source]:
    """Return the files of `dataset`, its records first. Raises UserError if the table lacks it."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    sources = [
        Source.model_validate(
            {key: value for key, value in row.items() if value}
            | {"urls": (row["url"], *row["mirrors"].split())}
        )
        for row in rows
        if row["dataset"] == dataset
    ]
    if not sources:
        names = ", ".join(sorted({row["dataset"] for row in rows}))
        raise UserError(f"{dataset} is no dataset of {table}. Choose one of {names}.")
    return sorted(sources, key=lambda source: source.holds != RECORDS)


def locate_own_images(raw: Path, source: Source) -> Path:
    """Return the folder, below the raw files, for the user's own images of a dataset."""
    return raw / "own" / source.dataset


def match_folder(path: str, folders: Sequence[str]) -> str | None:
    """Return which of `folders` an image path of the records is in; "." takes what no other does."""
    for folder in folders:
        if path.startswith(f"{folder}/"):
            return folder
    return "." if "." in folders else None
