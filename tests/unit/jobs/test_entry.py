"""Every library's words for a full disk become one line; a bug keeps its traceback."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.drills import SAME
from vlmscale.errors import Damaged
from vlmscale.jobs.entry import exit_with_message, log_to

WRITERS = {
    "text": "open(path, 'w').write('x' * 10**6)",
    "numpy": "import numpy; numpy.save(path, numpy.zeros(10**6))",
    "pandas": "import pandas; pandas.DataFrame({'a': range(10**6)}).to_csv(path)",
    "parquet": "import pyarrow as a, pyarrow.parquet as q; q.write_table(a.table({'a': range(10**6)}), path)",
    "safetensors": "import numpy as n, safetensors.numpy as s; s.save_file({'a': n.zeros(10**6)}, path)",
    "atomic": (
        "from pathlib import Path; from vlmscale.records.files import write_json\n"
        "write_json(Path(path), {'a': 'x' * 10**6})"
    ),
    "torch": "import torch; torch.save({'a': torch.zeros(10**6)}, path)",
}


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """A file system with 300 KB."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_line(full_disk, writer, cost_of):
    cost = cost_of("a disk or quota is full")
    for left in full_disk.iterdir():
        left.unlink()
    resize(full_disk, "300k")
    code = f"""
from tests.support.drills import SAME
from vlmscale.errors import Damaged
from vlmscale.jobs.entry import exit_with_message
path = {str(full_disk / "x.npy")!r}
with exit_with_message():
    {WRITERS[writer].replace(chr(10), chr(10) + "    ")}
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: a disk is full (")
    assert "Free space" in line
    cost.change("free space")
    resize(full_disk, "50m")
    cost.lose(1, "jobs")  # that was writing
    assert cost.run(SAME, subprocess.run, command).returncode == 0
    assert (full_disk / "x.npy").stat().st_size > 300_000


def test_a_full_disk_is_found_behind_another_error():
    def generate():
        try:
            raise OSError(28, "No space left on device", "/tmp/x")
        except OSError as error:
            raise RuntimeError("generating the dataset failed") from error

    with pytest.raises(SystemExit, match="a disk is full"), exit_with_message():
        generate()


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(
    ("place", "is_job", "moves"),
    [("results/x", True, True), ("results/x", False, False), ("resources/x", True, False)],
)
def test_a_job_sets_damaged_results_aside_and_nothing_else(
    tmp_path, monkeypatch, kind, place, is_job, moves
):
    monkeypatch.chdir(tmp_path)
    path = Path(place)
    for attempt in range(2):  # what was set aside before gives way
        path.parent.mkdir(exist_ok=True)
        inside = path / "part" if kind == "folder" else path
        inside.parent.mkdir(exist_ok=True)
        inside.write_text(str(attempt))
        with pytest.raises(SystemExit) as ended, exit_with_message(is_job=is_job):
            raise pickle.loads(pickle.dumps(Damaged(f"{path} is damaged.", "Delete it.", path)))
        aside = path.with_name("x.damaged")
        if moves:
            assert str(ended.value) == (
                f"error: {path} is damaged. It is now {aside}. Run the same command again: it makes {path} anew."
            )
            assert not path.exists()
            assert (aside / "part" if kind == "folder" else aside).read_text() == str(attempt)
        else:
            assert str(ended.value) == f"error: {path} is damaged. Delete it."
            assert inside.read_text() == str(attempt)
            assert not aside.exists()


def test_a_bug_keeps_its_traceback():
    with pytest.raises(KeyError), exit_with_message():
        raise KeyError("bug")


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "logs").write_text("a file where a folder belongs")
    log = tmp_path / "logs" / "job.log"
    with pytest.raises(SystemExit, match=rf"the log {log} cannot be written: .*"), log_to(log):
        pass
