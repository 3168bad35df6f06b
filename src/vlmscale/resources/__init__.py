"""The tables that the code reads; the wheel carries them."""

import csv
from pathlib import Path

from vlmscale.errors import UserError


def find_resource(name: str) -> Path:
    """Return the path of the table or folder `name` in this package.

    Raises UserError when there is none.
    """
    path = Path(__file__).parent / name
    if not path.exists():
        raise UserError(f"vlmscale has no resource {name!r}: {path} does not exist. Reinstall it.")
    return path


def read_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of the CSV table `name` of this package; errors as of find_resource."""
    with find_resource(name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_benchmark_rows() -> dict[str, dict[str, str]]:
    """Return benchmark -> its row of benchmarks.csv."""
    return {row["benchmark"]: row for row in read_rows("benchmarks.csv")}
