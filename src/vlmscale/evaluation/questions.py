"""The questions of a benchmark as lmms-eval reads them: Arrow files, which it maps and never writes to."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from vlmscale.records.files import atomic_path


def arrow_folder(folder: Path, split: str) -> Path:
    """Where the Arrow copy of a benchmark's Parquet files in `folder` lies, if it was downloaded."""
    return folder / f"{split}-arrow"


def write_arrow(files: Sequence[Path], split: str, folder: Path) -> None:
    """Write what the Parquet `files` hold to `folder`, as a dataset's only split; whole or not at all."""
    import datasets  # takes seconds

    content = {split: [str(file.resolve()) for file in files]}
    with (
        atomic_path(folder) as scratch,
        tempfile.TemporaryDirectory(prefix=".arrow-", dir=folder.parent) as cache,
    ):
        datasets.load_dataset("parquet", data_files=content, cache_dir=cache).save_to_disk(scratch)
