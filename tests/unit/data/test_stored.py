"""Splits are read in place; damage and conversations that do not fit are named."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlmscale.data import shards
from vlmscale.data.columns import SAMPLE
from vlmscale.data.shards import list_shards, write_split
from vlmscale.data.stored import (
    ImageReader,
    check_conversations,
    count_question_bytes,
    read_columns,
    read_row,
)
from vlmscale.errors import UserError

TEXTS = ["id", "image_key", "conversations"]


@pytest.fixture
def split(splits, tmp_path):
    return shutil.copytree(splits["stage2"], tmp_path / "stage2")


def test_rows_and_images_equal_those_of_the_shards(split, monkeypatch, tmp_path):
    """Also where row groups have a row each, and shards one or many."""
    rows = [r for file in list_shards(split) for r in pq.read_table(file).to_pylist()]
    monkeypatch.setattr(shards, "MAX_GROUP_BYTES", 1)
    parts = {
        f"shard-{i}": rows[start : start + 7] for i, start in enumerate(range(0, len(rows), 7))
    }
    write_split(tmp_path / "many", parts, SAMPLE, {})
    assert pq.ParquetFile(list_shards(tmp_path / "many")[0]).num_row_groups == 7
    for folder in (split, tmp_path / "many"):
        table, images = read_columns(folder, TEXTS), ImageReader(folder)
        assert [read_row(table, i) for i in range(len(rows))] == table.to_pylist()
        for i, expected in enumerate(rows):
            assert read_row(table, i) == {key: expected[key] for key in TEXTS}
            if expected["image"]:
                assert images[i] == expected["image"]["bytes"]


def test_row_groups_are_small_where_images_are_large(tmp_path):
    big = {"image": {"bytes": bytes(2**19), "path": None}, "image_key": "k"}
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    rows = [{"id": str(i), **big, "conversations": turns} for i in range(8)]
    write_split(tmp_path / "split", {"shard": rows}, SAMPLE, {})
    file = pq.ParquetFile(tmp_path / "split/shard.parquet")
    assert file.metadata.row_group(0).num_rows == 1


@pytest.mark.parametrize("column", ["image", "conversations"])
def test_damage_is_found_where_it_is_read(split, column):
    (file,) = list_shards(split)
    group = pq.ParquetFile(file).metadata.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    chunk = next(c for c in chunks if c.path_in_schema.startswith(column))
    content = bytearray(file.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start + chunk.total_compressed_size // 2] ^= 1
    file.write_bytes(content)
    read = {
        "image": lambda: ImageReader(split)[0],
        "conversations": lambda: read_columns(split, TEXTS),
    }
    with pytest.raises(UserError, match=r"shard-00000\.parquet is damaged: .*Delete"):
        read[column]()


def sample(key, *values):
    turns = [
        {"from": who, "value": v} for who, v in zip(["human", "gpt"] * 9, values, strict=False)
    ]
    return {"id": "s1", "image_key": key, "conversations": turns}


def table(*rows):
    fields = [SAMPLE.arrow_schema.field(name) for name in TEXTS]
    batches = [pa.RecordBatch.from_pylist([r], schema=pa.schema(fields)) for r in rows]
    return pa.Table.from_batches(batches)


FINE = [sample(None, "a", "b"), sample("k", "<image>\nwhat ?", "x", "and ?", "y")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (sample(None, "<image>\nwhat ?", "x"), "s1: 1 <image> marks but no image"),
        (sample("k", "what ?", "x"), "s1: 0 <image> marks but an image"),
        (sample("k", "<image> <image>", "x"), "s1: 2 <image> marks"),
        (sample("k", "<image>"), "s1: turns must alternate"),
        (sample(None), "s1: turns must alternate"),
        ({**FINE[0], "conversations": FINE[0]["conversations"][::-1]}, "s1: turns must alternate"),
    ],
)
def test_marks_and_images_must_agree(wrong, words):
    for rows in ([*FINE, wrong], [wrong, *FINE]):
        with pytest.raises(UserError, match=words):
            check_conversations("data/stage2", table(*rows))
        with pytest.raises(UserError, match=words):
            check_conversations("data/stage2", table(*rows).combine_chunks())
    check_conversations("data/stage2", table(*FINE).combine_chunks())


def test_question_bytes_are_counted():
    lengths = count_question_bytes(table(sample(None, "é", "b"), *FINE).combine_chunks())
    assert lengths.tolist() == [2, 1, 14]
