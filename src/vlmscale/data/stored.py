"""Read splits for training: texts into memory, images one by one from their files, without copies.

Parquet checks the checksum of every page that is read, so no training reads 100 GB first to verify a split.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vlmscale.data.shards import format_remedy, list_shards
from vlmscale.errors import Damaged, UserError
from vlmscale.records.files import read_json
from vlmscale.settings import IMAGE_TOKEN


def read_columns(split: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a split into memory. Raises UserError naming a shard that is damaged."""
    tables = []
    for file in list_shards(split):
        with _name_damaged(file):
            tables.append(pq.read_table(file, columns=columns, page_checksum_verification=True))
    return pa.concat_tables(tables)


def read_row(table: pa.Table | pa.RecordBatch, index: int) -> dict[str, Any]:
    """Return one row of a table."""
    return dict(table.slice(index, 1).to_pylist()[0])


def read_rows(table: pa.Table, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Return rows of a table. Unlike its `take` this copies no others, however large the table."""
    return [read_row(table, index) for index in indices]


class ImageReader:
    """The images of a split by row, as the contents of files. Reading one touches only its row group."""

    def __init__(self, split: Path) -> None:
        self.files = list_shards(split)
        shards = read_json(split / "manifest.json")["shards"]
        self.starts = [0, *accumulate(shards[file.name]["rows"] for file in self.files)]
        self._opened: dict[Path, tuple[pq.ParquetFile, list[int]]] = {}

    def __getitem__(self, index: int) -> bytes:
        """Read the image of a row. Raises UserError naming a shard that is damaged."""
        shard = bisect_right(self.starts, index) - 1
        file, place = self.files[shard], index - self.starts[shard]
        with _name_damaged(file):
            opened, starts = self._open(file)
            group = bisect_right(starts, place) - 1
            rows = opened.read_row_group(group, columns=["image.bytes"])["image"]
            return bytes(rows[place - starts[group]]["bytes"].as_py())

    def _open(self, file: Path) -> tuple[pq.ParquetFile, list[int]]:
        """Open a shard once; return it and the first row of each of its groups."""
        if file not in self._opened:
            opened = pq.ParquetFile(file, memory_map=True, page_checksum_verification=True)
            groups = range(opened.num_row_groups)
            sizes = [opened.metadata.row_group(group).num_rows for group in groups]
            self._opened[file] = opened, [0, *accumulate(sizes)][:-1]
        return self._opened[file]


@contextmanager
def _name_damaged(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        remedy = format_remedy(file.parent)
        raise Damaged(f"{file} is damaged: {error}.", remedy, file.parent) from None


def check_conversations(where: str, samples: pa.Table) -> None:
    """Raise UserError for the first sample whose `<image>` marks and image disagree, or turns are wrong.

    samples: a table with columns id, image_key (null without an image) and conversations.
    """
    for batch in samples.to_batches():
        turns, starts = _flatten_turns(batch)
        lengths = np.diff(starts)
        marks = _sum_by_sample(
            pc.count_substring(turns.field("value"), IMAGE_TOKEN).to_numpy(), starts
        )
        has_image = batch["image_key"].is_valid().to_numpy(zero_copy_only=False)
        speakers = turns.field("from").to_numpy(zero_copy_only=False)
        is_answer = (np.arange(len(turns)) - np.repeat(starts[:-1], lengths)) % 2
        misplaced = _sum_by_sample(speakers != np.where(is_answer, "gpt", "human"), starts)
        wrong = (marks != has_image) | (misplaced > 0) | (lengths % 2 > 0) | (lengths == 0)
        for index in np.flatnonzero(wrong)[:1]:
            raise UserError(
                f"{where}, sample {batch['id'][index]}: "
                + _describe_problem(int(marks[index]), bool(has_image[index]))
            )


def _describe_problem(marks: int, has_image: bool) -> str:
    if marks == has_image:
        return "turns must alternate human, gpt, human, gpt ..."
    image = "an image" if has_image else "no image"
    return f"{marks} {IMAGE_TOKEN} marks but {image}. Each image needs exactly one mark."


def count_question_bytes(samples: pa.Table) -> NDArray[np.int64]:
    """Return the length in bytes of the first human turn of each sample."""
    lengths = []
    for batch in samples.to_batches():
        turns, starts = _flatten_turns(batch)
        lengths.append(pc.binary_length(turns.field("value")).to_numpy()[starts[:-1]])
    return np.concatenate(lengths).astype(np.int64)


def _flatten_turns(batch: pa.RecordBatch) -> tuple[pa.StructArray, NDArray[np.int64]]:
    """Return all turns of a batch, and where each sample's turns start and the last one's end."""
    conversations = batch["conversations"]
    starts = conversations.offsets.to_numpy().astype(np.int64)
    return conversations.flatten(), starts - starts[0]


def _sum_by_sample(values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return sums[starts[1:]] - sums[starts[:-1]]
