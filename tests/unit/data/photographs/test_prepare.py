"""Splits and benchmarks of photographs, in the form of all others."""

import csv

import pyarrow.parquet as pq
import pytest

from tests.support.debs import cut_out, write_deb
from vlmscale.data.photographs import prepare
from vlmscale.data.photographs.archive import KINDS
from vlmscale.data.photographs.questions import BENCHMARKS
from vlmscale.data.shards import list_shards
from vlmscale.data.stored import check_conversations, read_columns
from vlmscale.errors import UserError
from vlmscale.evaluation.fetch import fetch_benchmarks
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.records.files import read_json
from vlmscale.records.signature import compute_sha256
from vlmscale.resources import find_resource

FOLDERS = {kind: folder for folder, kind in KINDS.items()}
LETTERS = "abcdefghijklmnopqrst"


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A folder of downloads with a package of 20 things of each kind, and a table that names it."""
    files = {}
    for row, folder in enumerate(FOLDERS.values()):
        for column, letter in enumerate(LETTERS):
            name = f"{folder}/{letter}"
            files[f"{name}.png"] = cut_out((10 * row, 10 * column, 9))
            files[f"{name}.txt"] = f"A word{row}{letter}.".encode()
    with find_resource("datasets.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"].startswith("photo_")]
    package = tmp_path / "raw" / rows[0]["file"]
    package.parent.mkdir(parents=True)
    write_deb(package, files)
    table = tmp_path / "datasets.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            sha256, size = compute_sha256(package), package.stat().st_size
            writer.writerow({**row, "sha256": sha256, "bytes": size})
    monkeypatch.setattr(prepare, "find_resource", lambda name: table)
    return tmp_path / "raw"


def read_split(folder):
    return [
        row
        for file in list_shards(folder, checksum=True)
        for row in pq.read_table(file).to_pylist()
    ]


def test_training_and_benchmarks_share_no_photograph(raw, tmp_path):
    for dataset in (prepare.CAPTIONS, prepare.QUESTIONS):
        prepare.prepare_photographs(dataset, raw=raw, output=tmp_path / dataset)
        samples = read_columns(tmp_path / dataset, ["id", "image_key", "conversations"])
        check_conversations(dataset, samples)
    benchmarks = read_benchmarks(BENCHMARKS)
    fetch_benchmarks(benchmarks, tmp_path / "test", work=tmp_path / "work", raw=raw)
    tested = {b.benchmark: read_split(b.folder(tmp_path / "test")) for b in benchmarks}
    captions, questions = (
        read_split(tmp_path / name) for name in (prepare.CAPTIONS, prepare.QUESTIONS)
    )
    shown = {row["image_key"] for row in captions}
    assert shown == {row["image_key"] for row in questions}
    held_out = {row["image_key"] for rows in tested.values() for row in rows}
    assert not shown & held_out
    assert len(shown) + len(held_out) == len(LETTERS) * len(FOLDERS)
    assert len(captions) == len(shown)
    assert len(questions) == 4 * len(shown)
    for rows in tested.values():
        assert len({row["id"] for row in rows}) == len(rows)
    assert len(tested["photo_noun"]) == len(tested["photo_kind"]) == 2 * len(tested["photo_which"])
    asked = {
        turn["value"].removeprefix("<image>\n")
        for row in questions
        for turn in row["conversations"]
    }
    assert not {row["question"] for row in tested["photo_noun"]} & asked


def test_the_same_package_gives_the_same_bytes(raw, tmp_path):
    for name in "ab":
        prepare.prepare_photographs(prepare.QUESTIONS, raw=raw, output=tmp_path / name)
    first, second = (read_json(tmp_path / name / "manifest.json") for name in "ab")
    assert first == second
    assert first["licence"].startswith("GPL-2")


def test_another_package_is_refused(raw, tmp_path):
    (package,) = (file for file in raw.rglob("*.deb"))
    package.write_bytes(package.read_bytes() + b"\n")
    with pytest.raises(UserError, match=r"cannot be used: it has [\d,]+ bytes instead of"):
        prepare.prepare_photographs(prepare.CAPTIONS, raw=raw, output=tmp_path / "x")
