"""A lock keeps other processes out while its holder lives, and no longer."""

import errno
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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_without_flock_a_file_that_names_its_holder_is_the_lock(
    tmp_path, monkeypatch, number, cost_of
):
    cost_of("the file system has no locks: Lustre without flock, NFS")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)
    file = tmp_path / "lock"
    with acquire_lock(file, "busy"):
        with pytest.raises(UserError, match="busy"):
            acquire_lock(file, "busy")
        assert str(os.getpid()) in file.read_text()
    with acquire_lock(file, "busy"):
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.open", fail)
    with pytest.raises(UserError, match=r"lock cannot be locked: .* Make its folder writable"):
        acquire_lock(tmp_path / "lock", "busy")
