"""Arrow copies of a benchmark's questions, which lmms-eval reads and never writes to."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from vlmscale.records.files import atomic_path


def arrow_folder(folder: Path, split: str) -> Path:
    """Return where the Arrow copy of a downloaded benchmark lies, for its Parquet files in `folder`."""
    return folder / f"{split}-arrow"


def write_arrow(files: Sequence[Path], split: str, folder: Path) -> None:
    """Write the rows of the Parquet `files` to `folder`, as a dataset with this one split, atomically."""
    from datasets import Dataset, DatasetDict  # takes seconds

    names = [str(file.resolve()) for file in files]
    with (
        atomic_path(folder) as scratch,
        tempfile.TemporaryDirectory(prefix=".arrow-", dir=folder.parent) as cache,
    ):
        # Unlike load_dataset, from_parquet does not report the use of a dataset to its publisher.
        rows = Dataset.from_parquet(names, split=split, cache_dir=cache)
        DatasetDict({split: rows}).save_to_disk(scratch)
