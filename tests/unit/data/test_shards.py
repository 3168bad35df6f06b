"""Damaged data is refused by name before anything is computed from it."""

import shutil

import pytest

from vlmscale.data.shards import list_shards
from vlmscale.errors import UserError


@pytest.fixture
def split(splits, tmp_path):
    return shutil.copytree(splits["stage2"], tmp_path / "stage2")


def test_a_truncated_shard_is_named(split):
    file = split / "shard-00000.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"shard-00000\.parquet is damaged.*Delete"):
        list_shards(split)


def test_a_flipped_byte_is_found_by_its_checksum(split):
    file = split / "shard-00000.parquet"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    list_shards(split)  # the size is right
    with pytest.raises(UserError, match="checksum"):
        list_shards(split, checksum=True)


def test_a_missing_shard_or_manifest_is_named(split):
    (split / "shard-00000.parquet").unlink()
    with pytest.raises(UserError, match=r"shard-00000\.parquet is missing"):
        list_shards(split)
    (split / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"no manifest\.json"):
        list_shards(split)
