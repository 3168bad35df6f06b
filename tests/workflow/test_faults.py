"""Faults of machines: refused before the first job or repaired by one command, and nothing is lost."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.drills import SAME
from tests.support.paths import ROOT

TARGET = "results/published/table1.parquet"
TABLE = "src/vlmscale/resources/published/table1.csv"


@pytest.fixture
def checkout(empty):
    """A checkout without results whose sources can be changed."""
    (empty.path / "src").unlink()
    shutil.copytree(ROOT / "src", empty.path / "src")
    return empty


def test_inputs_from_tomorrow_are_refused_before_the_first_job(checkout, cost_of):
    cost = cost_of("files are dated in the future: a copy from a machine whose clock is ahead")
    tomorrow = time.time() + 86400
    os.utime(checkout.path / TABLE, (tomorrow, tomorrow))
    done = checkout.snakemake(TARGET, config=None)
    assert done.returncode != 0
    assert f"error: {TABLE} is dated 24.0 hours in the future" in done.stdout
    assert f"or: touch {TABLE}" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout.path / "results/published/logs").exists()
    os.utime(checkout.path / TABLE)
    cost.change("`touch` the files that the message names")
    done = cost.run(SAME, checkout.snakemake, TARGET, config=None)
    assert done.returncode == 0, done.stdout
    assert (checkout.path / TARGET).exists()


@pytest.mark.parametrize("launcher", ["make", "snakemake"])
def test_the_lock_of_a_killed_run_is_removed_and_that_of_a_living_one_kept(
    checkout, launcher, cost_of
):
    cost = cost_of("snakemake is killed, or the machine loses power")
    command = checkout.command(TARGET, config=None)
    command = (
        command
        if launcher == "make"
        else command[command.index("vlmscale.jobs.import_server") + 1 :]
    )
    run = subprocess.Popen(
        command,
        cwd=checkout.path,
        env=checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    locks = checkout.path / ".snakemake/locks"
    while not any(lock.stat().st_size for lock in locks.glob("*")):
        time.sleep(0.01)
        assert run.poll() is None, "ended too early"
    os.killpg(run.pid, signal.SIGSTOP)
    done = checkout.snakemake(TARGET, config=None)
    assert done.returncode != 0
    assert (
        "A run in this folder is under way. If none is, on any machine: make unlock" in done.stdout
    )
    assert any(locks.iterdir())
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    done = cost.run(SAME, checkout.snakemake, TARGET, config=None)
    assert done.returncode == 0, done.stdout
    assert (checkout.path / TARGET).exists()
    assert not list((checkout.path / ".snakemake/runs").iterdir())


@pytest.fixture(params=["absent", "a file", "full"])
def home(request, tmp_path_factory):
    """A home in which nothing can be written."""
    folder = tmp_path_factory.mktemp("home")
    if request.param == "full":
        mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
        if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
        (folder / "full").write_bytes(bytes(4096))
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    else:
        (folder / "file").touch()
        yield Path("/proc/none") if request.param == "absent" else folder / "file"


def test_a_home_that_cannot_be_written_stops_nothing(checkout, home, tmp_path_factory, cost_of):
    cost_of("HOME is absent, read-only or full")
    place = tmp_path_factory.mktemp("t")
    environment = {"HOME": str(home), "XDG_CACHE_HOME": "", "TMPDIR": str(place)}
    done = checkout.snakemake(TARGET, config=None, **environment)
    assert done.returncode == 0, done.stdout
    assert f"Snakemake caches in {place}/vlmscale-cache-" in done.stdout
    assert (checkout.path / TARGET).exists()


def flip(content):
    return content[:-99] + bytes([content[-99] ^ 4]) + content[-98:]


@pytest.mark.parametrize("damage", [flip, lambda content: content[:-999], lambda content: b""])
def test_a_damaged_result_is_set_aside_and_made_anew(checkout, damage, cost_of):
    cost = cost_of("a table, record, model or data of results are damaged")
    made, used = "results/published/errors.parquet", "results/published/explorer.html"
    assert checkout.snakemake(used, config=None).returncode == 0
    file, whole = checkout.path / made, (checkout.path / made).read_bytes()
    page, times = (checkout.path / used).read_bytes(), file.stat()
    (checkout.path / used).unlink()
    file.write_bytes(damage(whole))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = checkout.snakemake(used, config=None)
    assert done.returncode != 0
    assert f"error: {made} is damaged" in done.stdout
    assert f"It is now {made}.damaged. Run the same command again" in done.stdout
    assert file.with_name("errors.parquet.damaged").read_bytes() == damage(whole)
    done = cost.run(SAME, checkout.snakemake, used, config=None)
    assert done.returncode == 0, done.stdout
    cost.lose(done.stdout.count("rule published_errors:"), "jobs, those that made it")
    assert file.read_bytes() == whole
    assert (checkout.path / used).read_bytes() == page
