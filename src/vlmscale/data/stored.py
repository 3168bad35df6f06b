"""Splits as trainings read them: texts in memory, images one by one from where they lie, nothing copied.

Every page that is read is held against its own checksum: nobody reads a split of 100 GB first, to know
that it is whole.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
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
from vlmscale.errors import UserError
from vlmscale.records.files import read_json
from vlmscale.settings import IMAGE_TOKEN


def read_columns(split: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of a split, in memory. Raises UserError naming a shard that is damaged."""
    tables = []
    for file in list_shards(split):
        with _damage_named(file):
            tables.append(pq.read_table(file, columns=columns, page_checksum_verification=True))
    return pa.concat_tables(tables)


def read_row(table: pa.Table | pa.RecordBatch, index: int) -> dict[str, Any]:
    """A row of a table."""
    return dict(table.slice(index, 1).to_pylist()[0])


def read_rows(table: pa.Table, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of a table. Unlike its `take` this copies nothing else, however large the table."""
    if not indices:
        return []
    return list(pa.concat_tables([table.slice(index, 1) for index in indices]).to_pylist())


class ImageReader:
    """The images of a split, as the contents of files, by row. Reading one touches its row group alone."""

    def __init__(self, split: Path) -> None:
        self.files = list_shards(split)
        shards = read_json(split / "manifest.json")["shards"]
        self.starts = [0, *accumulate(shards[file.name]["rows"] for file in self.files)]
        self._opened: dict[Path, tuple[pq.ParquetFile, list[int]]] = {}

    def __getitem__(self, index: int) -> bytes:
        """Raises UserError naming a shard that is damaged."""
        shard = bisect_right(self.starts, index) - 1
        file, place = self.files[shard], index - self.starts[shard]
        with _damage_named(file):
            opened, starts = self._open(file)
            group = bisect_right(starts, place) - 1
            rows = opened.read_row_group(group, columns=["image.bytes"])["image"]
            return bytes(rows[place - starts[group]]["bytes"].as_py())

    def _open(self, file: Path) -> tuple[pq.ParquetFile, list[int]]:
        """A shard, and the first row of each of its groups."""
        if file not in self._opened:
            opened = pq.ParquetFile(file, memory_map=True, page_checksum_verification=True)
            groups = range(opened.num_row_groups)
            sizes = [opened.metadata.row_group(group).num_rows for group in groups]
            self._opened[file] = opened, [0, *accumulate(sizes)][:-1]
        return self._opened[file]


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{file} is damaged: {error}. {format_remedy(file.parent)}") from None


def check_conversations(where: str, samples: pa.Table) -> None:
    """Raise UserError for the first sample whose `<image>` marks and image disagree.

    `samples` needs the columns id, image_key (null without an image) and conversations.
    """
    for batch in samples.to_batches():
        turns, starts = _turns(batch)
        marks = _sums(pc.count_substring(turns.field("value"), IMAGE_TOKEN).to_numpy(), starts)
        shown = batch["image_key"].is_valid().to_numpy(zero_copy_only=False)
        speakers = turns.field("from").to_numpy(zero_copy_only=False)
        odd = (np.arange(len(turns)) - np.repeat(starts[:-1], np.diff(starts))) % 2
        strange = _sums(speakers != np.where(odd, "gpt", "human"), starts)
        wrong = (
            (marks != shown) | (strange > 0) | (np.diff(starts) % 2 > 0) | (np.diff(starts) == 0)
        )
        for index in np.flatnonzero(wrong)[:1]:
            _refuse(where, read_row(batch, int(index)))


def _refuse(where: str, sample: Mapping[str, Any]) -> None:
    marks = sum(turn["value"].count(IMAGE_TOKEN) for turn in sample["conversations"])
    if marks != (sample["image_key"] is not None):
        images = "an image" if sample["image_key"] is not None else "no image"
        raise UserError(
            f"{where}, sample {sample['id']}: {marks} {IMAGE_TOKEN} marks but {images}. "
            "Each image needs exactly one mark."
        )
    raise UserError(
        f"{where}, sample {sample['id']}: turns must alternate human, gpt, human, gpt ..."
    )


def count_question_bytes(samples: pa.Table) -> NDArray[np.int64]:
    """How long the first thing that a human says is in each sample, in bytes."""
    found = []
    for batch in samples.to_batches():
        turns, starts = _turns(batch)
        found.append(pc.binary_length(turns.field("value")).to_numpy()[starts[:-1]])
    return np.concatenate(found).astype(np.int64)


def _turns(batch: pa.RecordBatch) -> tuple[pa.StructArray, NDArray[np.int64]]:
    """All turns of a batch, one after another, and where each sample's begin and the last one's end."""
    conversations = batch["conversations"]
    starts = conversations.offsets.to_numpy().astype(np.int64)
    return conversations.flatten(), starts - starts[0]


def _sums(values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of the values of each sample."""
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return sums[starts[1:]] - sums[starts[:-1]]
