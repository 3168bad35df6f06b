"""A lock keeps other processes out while its holder lives, and no longer."""

import os
import subprocess
import sys

import pytest

from vlmscale.errors import UserError
from vlmscale.records.locks import acquire_lock

HOLD = (
    "import sys, time; from pathlib import Path; from vlmscale.records.locks import acquire_lock\n"
    "with acquire_lock(Path(sys.argv[1]), 'busy'): print('held', flush=True); time.sleep(60)"
)


def test_a_killed_holder_leaves_the_lock_free(tmp_path):
    file = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="busy"):
            acquire_lock(file, "busy")
        holder.kill()
        holder.wait()
    with acquire_lock(file, "busy"):
        pass


def test_a_forked_child_that_ends_does_not_free_the_lock(tmp_path):
    file = tmp_path / "lock"
    with acquire_lock(file, "busy"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        other = subprocess.run([sys.executable, "-c", HOLD, str(file)], capture_output=True)
        assert b"busy" in other.stderr


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", _no_locks)
    with pytest.raises(UserError, match=r"lock cannot be locked.*Choose another file system"):
        acquire_lock(tmp_path / "lock", "busy")


def _no_locks(*_):
    raise OSError(37, "No locks available")
