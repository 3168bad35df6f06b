"""Locks of killed runs go, those of living ones stay, on every file system."""

import errno
import os
import subprocess
import sys
import time

import pytest

from vlmscale.jobs.run_lock import hold_run

HOLD = (
    "import time; from pathlib import Path; from vlmscale.jobs.run_lock import hold_run\n"
    "print(hold_run(Path('.snakemake')), flush=True); input()"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    return tmp_path / ".snakemake"


def start(folder):
    """A process that holds the run in `folder` and has locked files as snakemake does."""
    run = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=folder.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert run.stdout.readline() in (b"False\n", b"True\n")
    (folder / f"locks/{run.pid}.input.lock").write_text("data")
    return run


def hold(folder):
    """What another process is told."""
    done = subprocess.run(
        [sys.executable, "-c", HOLD],
        cwd=folder.parent,
        input=b"\n",
        capture_output=True,
        check=True,
    )
    return done.stdout == b"True\n"


def test_locks_stay_while_one_of_several_runs_lives_and_go_when_all_are_killed(folder):
    with start(folder) as first, start(folder) as second:
        assert hold(folder)
        first.kill()
        first.wait()
        assert hold(folder)
        assert len(list((folder / "locks").iterdir())) == 2
        second.kill()
        second.wait()
    assert not hold(folder)
    assert not any((folder / "locks").iterdir())
    assert not any((folder / "runs").iterdir())


def test_a_run_that_ended_leaves_nothing(folder):
    with start(folder) as run:
        run.communicate(b"\n")
    assert not any((folder / "runs").iterdir())


@pytest.mark.parametrize("age", [10, 86400])
def test_locks_of_a_snakemake_that_holds_nothing_are_left_alone(folder, age):
    """Another workflow in this folder, or an earlier version."""
    lock = folder / "locks/0.input.lock"
    lock.write_text("data")
    os.utime(lock, (time.time() - age,) * 2)
    assert hold(folder)
    with start(folder) as run:
        run.kill()
    assert hold(folder)
    assert lock.exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pathlib.Path.mkdir", fail)
    assert not hold_run(tmp_path / ".snakemake")
