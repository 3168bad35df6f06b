"""Real benchmarks onto this machine: `python -m vlmscale.evaluation.fetch DATA mme gqa ...`, with network.

Where nodes that evaluate have none, run it on one that has. Files that lie there already, copied by hand,
are not fetched again; they are counted, and declared complete like others.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from vlmscale.data.shards import write_manifest
from vlmscale.errors import UserError
from vlmscale.evaluation.spec import Benchmark, read_benchmarks
from vlmscale.jobs import clear_errors
from vlmscale.provenance import read_json

TABLE = Path("resources/benchmarks.csv")


def fetch(asked: Benchmark, data: Path) -> None:
    """Bring a benchmark's Parquet files below `data` and declare them complete.

    The revision is that of the table, or else the present one; the manifest beside the files records it,
    as null for files that were here before. Raises UserError for a number of questions that the table
    does not have.
    """
    assert asked.dataset is not None
    root, questions = data / asked.dataset, asked.folder(data).name
    folders = [questions, *([asked.images] if asked.images else [])]
    lacking = [name for name in folders if not _complete(root / name, asked.split)]
    revision = _download(asked, root, lacking) if lacking else None
    for name in folders:
        folder = root / name
        if (folder / "manifest.json").exists() and name not in lacking:
            continue
        about = {"dataset": asked.dataset, "revision": revision if name in lacking else None}
        files = [file.name for file in _shards(folder, asked.split)]
        write_manifest(folder, files, about)
        rows = read_json(folder / "manifest.json")["rows"]
        if name == questions and asked.questions not in (None, rows):
            (folder / "manifest.json").unlink()
            raise UserError(
                f"{folder} has {rows} questions, not the {asked.questions} of {asked.benchmark}. If the "
                "dataset has changed, correct column questions of resources/benchmarks.csv."
            )


def _download(asked: Benchmark, root: Path, folders: Sequence[str]) -> str:
    from huggingface_hub import HfApi, snapshot_download

    revision = asked.revision or HfApi().dataset_info(asked.dataset).sha
    snapshot_download(
        asked.dataset,
        repo_type="dataset",
        revision=revision,
        local_dir=root,
        allow_patterns=[f"{name}/{asked.split}-*.parquet" for name in folders],
    )
    for name in folders:
        if not _complete(root / name, asked.split):
            raise UserError(
                f"{asked.dataset} at {revision} has no whole {name}/{asked.split}-*.parquet"
            )
    return str(revision)


def _shards(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"{split}-*.parquet"))


def _complete(folder: Path, split: str) -> bool:
    """Whether all files of a split are there; their names say of how many each is one."""
    files = _shards(folder, split)
    numbers = {int(n) for file in files for n in re.findall(r"-of-(\d+)", file.name)}
    return bool(files) and numbers == {len(files)}


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(
            f"usage: python -m vlmscale.evaluation.fetch DATA BENCHMARK...   (rows of {TABLE})"
        )
    with clear_errors():
        for row in read_benchmarks(TABLE, sys.argv[2:]):
            fetch(row, Path(sys.argv[1]))
