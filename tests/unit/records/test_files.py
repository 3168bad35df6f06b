"""Outputs appear whole or not at all, and equal results are equal bytes."""

import pandas as pd
import pytest

from vlmscale.records.files import atomic_path, write_json
from vlmscale.records.parquet import read_provenance, write_parquet


def test_a_failure_leaves_no_file_and_keeps_the_old_one(tmp_path):
    target = tmp_path / "out.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as scratch:  # noqa: PT012
        scratch.write_text("half")
        raise RuntimeError
    assert target.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with atomic_path(tmp_path / "folder") as scratch:
            scratch.mkdir()
            (scratch / name).touch()
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["new"]


def test_equal_tables_are_equal_files_that_record_their_provenance(tmp_path):
    frame = pd.DataFrame({"x": [1.5, 2.5]})
    for name in ("a", "b"):
        write_parquet(tmp_path / name, frame, {"fingerprint": "f00"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    record = read_provenance(tmp_path / "a")
    assert record["fingerprint"] == "f00"
    assert "pandas" in record["versions"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a"), frame)
