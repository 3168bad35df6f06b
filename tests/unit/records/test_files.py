"""Outputs appear whole or not at all, equal results are equal bytes, and damage is noticed."""

import json
import os
import random
import subprocess
import sys

import pandas as pd
import pytest

from tests.support.drills import SAME
from vlmscale.errors import Damaged, UserError
from vlmscale.records.files import (
    atomic_folder,
    atomic_path,
    check_folder_content,
    identify_content,
    read_json,
    remove_scratch,
    write_json,
)
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet
from vlmscale.records.tables import read_table


def test_a_failure_leaves_no_file_and_keeps_the_old_one(tmp_path):
    target = tmp_path / "out.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as scratch:  # noqa: PT012
        scratch.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_never_replaces_a_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(UserError, match=r"mine is a folder\. Name a file"):
        write_json(tmp_path / "mine", {"a": 1})
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


@pytest.mark.parametrize(
    "place", ["file/x.json", "file/below/x.json", "/proc/x.json", "/dev/null/x.json"]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.json cannot be written: .* or name another place"):
        write_json(tmp_path / place, {"a": 1})


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


FRAME = pd.DataFrame({"x": [1, 2] * 50, "name": ["a", None] * 50, "losses": [[0.5], [1.5]] * 50})
RECORD = {"steps": 12, "losses": [0.25, 0.5], "about": {"llm": "d32"}}


def flip(content, at):
    content[at] ^= 1 << at % 8


def truncate(content, at):
    del content[at:]


def zero(content, at):
    content[at : at + 40] = bytes(len(content[at : at + 40]))


def repeat(content, at):
    content[at : at + 8] = content[:8]


@pytest.mark.parametrize("damage", [flip, truncate, zero, repeat])
@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_damaged_record_is_refused_or_read_as_it_was(tmp_path, kind, damage):
    """No damage gives another result, and none a traceback."""
    file = tmp_path / f"made.{kind}"
    if kind == "json":
        write_json(file, RECORD)
    else:
        write_parquet(file, FRAME, {"seed": 3})
    whole, rng, said = file.read_bytes(), random.Random(0), set()
    for _ in range(200):
        content = bytearray(whole)
        damage(content, rng.randrange(len(content)))
        file.write_bytes(content)
        try:
            if kind == "json":
                assert {**read_json(file), **RECORD} == read_json(file)
            else:
                pd.testing.assert_frame_equal(read_parquet(file), FRAME)
                assert read_provenance(file)["seed"] == 3
        except UserError as error:
            said.add(str(error).partition(":")[0])
        try:
            assert kind == "json" or read_provenance(file)["seed"] == 3
        except UserError as error:  # also of what is no Parquet file any more
            said.add(str(error).partition(":")[0])
    ours = {
        f"{file} is damaged",
        f"{file} is damaged or was not made by this version. Delete it and run again.",
    }
    assert said <= ours
    assert said


@pytest.mark.parametrize("cut", [b'own_sha256": "', b"own_sha256", b"sha256"])
def test_a_table_whose_signature_is_damaged_is_no_foreign_table(tmp_path, cut):
    file = tmp_path / "made.parquet"
    write_parquet(file, FRAME, {"seed": 3})
    pd.testing.assert_frame_equal(read_table(file), FRAME)
    file.write_bytes(file.read_bytes().replace(cut, b"x" * len(cut)))
    with pytest.raises(Damaged, match=r"made\.parquet is damaged"):
        read_table(file)
    FRAME.to_parquet(file)
    pd.testing.assert_frame_equal(read_table(file), FRAME)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"3", b"\xff\xfe", b'{"a": 1', b"[" * 100_000]
)
def test_what_is_no_json_object_is_named_with_the_cure(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json is damaged: no JSON object .* Fetch it again"):
        read_json(tmp_path / "x.json", "Fetch it again.")
    with pytest.raises(UserError, match=r"none\.json cannot be read: No such file"):
        read_json(tmp_path / "none.json")


def test_json_from_elsewhere_has_no_checksum_and_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8}))
    assert read_json(tmp_path / "config.json") == {"hidden_size": 8}


def test_a_table_from_elsewhere_is_no_result(tmp_path):
    FRAME.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match="was not made by this version"):
        read_parquet(tmp_path / "x.parquet")


def test_what_is_made_from_a_table_names_it_by_its_checksum(tmp_path):
    write_parquet(tmp_path / "a.parquet", FRAME, {})
    write_parquet(tmp_path / "b.parquet", FRAME.assign(x=7), {})
    first, other = (read_provenance(tmp_path / f"{name}.parquet") for name in "ab")
    assert first["sha256"] != other["sha256"]
    write_parquet(tmp_path / "c.parquet", FRAME, {"source": first})
    assert read_provenance(tmp_path / "c.parquet")["source"] == first
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "c.parquet"), FRAME)


@pytest.fixture
def folder(tmp_path):
    with atomic_folder(tmp_path / "model") as scratch:
        (scratch / "weights").write_bytes(bytes(1000))
        (scratch / "below").mkdir()
        (scratch / "below" / "config.json").write_text("{}")
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["weights", "below/config.json"])
@pytest.mark.parametrize("damage", [lambda f: f.write_bytes(b"1" * f.stat().st_size), os.remove])
def test_a_damaged_file_of_a_folder_is_named(folder, name, damage):
    check_folder_content(folder)
    damage(folder / name)
    with pytest.raises(UserError, match=rf"{name} is damaged.* Delete {folder} and run again"):
        check_folder_content(folder)


def test_content_identifies_a_file_or_folder_wherever_it_is(folder, tmp_path):
    with atomic_folder(tmp_path / "same") as scratch:
        (scratch / "weights").write_bytes(bytes(1000))
        (scratch / "below").mkdir()
        (scratch / "below" / "config.json").write_text("{}")
    assert identify_content(folder) == identify_content(tmp_path / "same")
    (tmp_path / "same" / "checksums.json").unlink()  # a folder from elsewhere
    before = identify_content(tmp_path / "same")
    os.utime(tmp_path / "same" / "weights", (1, 1))
    assert identify_content(tmp_path / "same") == before
    (tmp_path / "same" / "weights").write_bytes(b"1")
    assert identify_content(tmp_path / "same") != before


WRITER = """
import os, sys, time
from pathlib import Path
from vlmscale.records.files import atomic_path
with atomic_path(Path(sys.argv[1])) as scratch:
    scratch.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_goes_and_a_living_ones_stays(tmp_path, cost_of):
    cost = cost_of("a process is killed while it writes a file")
    target = tmp_path / "model"
    command = [sys.executable, "-c", WRITER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        (scratch,) = tmp_path.iterdir()
        os.utime(scratch / ".lock", (1, 1))
        write_json(target, {})
        assert remove_scratch(tmp_path) == []
        assert scratch.exists()
        writer.kill()
    cost.lose(len(list(tmp_path.glob(".model*"))), "files")
    cost.run(SAME, write_json, target, {})
    assert list(tmp_path.iterdir()) == [target]


def test_cleaning_removes_what_killed_writers_left_and_nothing_else(tmp_path):
    target = tmp_path / "runs" / "a" / "model"
    command = [sys.executable, "-c", WRITER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        writer.kill()
    (scratch,) = target.parent.iterdir()
    assert remove_scratch(tmp_path) == []  # it may be about to start
    os.utime(scratch / ".lock", (1, 1))
    other = tmp_path / ".cache"
    other.mkdir()
    (other / ".lock").touch()
    os.utime(other / ".lock", (1, 1))
    assert remove_scratch(tmp_path) == [scratch]
    assert list(target.parent.iterdir()) == []
    assert other.exists()
