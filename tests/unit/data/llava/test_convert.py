"""Conversion bounds its shards, resumes after a stop, and depends only on the files."""

import errno
import os
import signal

import pytest

from tests.support.drills import SAME
from tests.support.splits import read_split
from tests.support.upstream import image, mix, pretrain
from vlmscale.data.llava import convert
from vlmscale.errors import UserError


def test_bytes_and_order_depend_only_on_the_files(server, run, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "MAX_ROWS", 4)
    table = mix(server.folder, server.url, text_only=10)
    first = run("llava_mix665k", table, output=tmp_path / "one", workers=1)
    second = run("llava_mix665k", table, output=tmp_path / "three", workers=3)
    assert list(first["shards"]) == [f"shard-{i:05d}.parquet" for i in range(6)]
    assert first == second
    files = [sorted((tmp_path / name).iterdir()) for name in ("one", "three")]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def test_a_shard_holds_at_most_its_bytes(server, run, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "MAX_BYTES", 2 * len(image(0)))
    manifest = run("llava_pretrain", pretrain(server.folder, server.url))
    assert len(manifest["shards"]) >= 5
    assert [row["id"] for row in read_split(tmp_path / "out")] == [
        f"{i % 3:05d}{i:04d}" for i in range(10)
    ]


def test_a_stopped_conversion_resumes(server, run, tmp_path, monkeypatch, cost_of):
    cost = cost_of("the conversion of data is stopped")
    monkeypatch.setattr(convert, "MAX_ROWS", 4)
    table = pretrain(server.folder, server.url)
    write = convert.write_split

    def dies(folder, shards, *rest):
        if "shard-00002" in shards:
            raise KeyboardInterrupt
        write(folder, shards, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_split", dies)
        with pytest.raises(KeyboardInterrupt):
            run("llava_pretrain", table, workers=1)
    assert not (tmp_path / "out").exists()
    left = {p.name: p.stat().st_mtime_ns for p in (tmp_path / ".out.parts").glob("*/*/*.parquet")}
    assert len(left) == 2
    manifest = cost.run(SAME, run, "llava_pretrain", table)
    cost.lose(len(manifest["shards"]) - len(left), "shards, those in progress")
    assert {
        p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir() if p.name in left
    } == left
    assert manifest["rows"] == 10
    assert not (tmp_path / ".out.parts").exists()


def test_resumes_after_a_stop_while_parts_are_joined(server, run, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "MAX_ROWS", 4)
    table, moved = pretrain(server.folder, server.url), []

    def dies(source, target):
        moved.append(source)
        if len(moved) == 2:
            raise KeyboardInterrupt
        source.replace(target)

    with monkeypatch.context() as patch:
        patch.setattr(convert.shutil, "move", dies)
        with pytest.raises(KeyboardInterrupt):
            run("llava_pretrain", table)
    assert not (tmp_path / "out").exists()
    assert run("llava_pretrain", table)["rows"] == len(read_split(tmp_path / "out")) == 10


def test_a_full_disk_is_named_and_the_next_run_resumes(server, run, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(convert, "write_split", full)
        with pytest.raises(UserError, match=r"is full.*Make room and run again"):
            run("llava_pretrain", pretrain(server.folder, server.url))
    assert not (tmp_path / "out").exists()
    assert run("llava_pretrain", server.folder / "table.csv")["rows"] == 10


def test_conversion_needs_no_lock_file(server, run, tmp_path, monkeypatch):
    """As in an installed wheel."""
    monkeypatch.setattr("vlmscale.jobs.fingerprint.LOCK", tmp_path / "none")
    assert run("llava_pretrain", pretrain(server.folder, server.url))["rows"] == 10


def test_a_killed_process_ends_in_advice(server, run, tmp_path, monkeypatch, cost_of):
    cost = cost_of("a process of the conversion is killed, as for lack of memory")
    table = pretrain(server.folder, server.url)
    with monkeypatch.context() as patch:
        patch.setattr(convert, "repair_image", lambda content: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(UserError, match="fewer processes"):
            run("llava_pretrain", table)
    assert not (tmp_path / "out").exists()
    done = len(list((tmp_path / ".out.parts").glob("*/*/*.parquet")))
    fewer = "the same command with fewer processes"
    manifest = cost.run(fewer, run, "llava_pretrain", table, workers=1)
    assert manifest["rows"] == 10
    cost.lose(len(manifest["shards"]) - done, "shards, those in progress")
