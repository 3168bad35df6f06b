"""A job in a forked process is as one of its own: output, status, folder, environment, end."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.drills import SAME

pytestmark = pytest.mark.slow

# What a job below the import server does: it runs `python -m PROBE` and tells its status. Both write whole
# lines at once, since both write to one pipe.
ASKER = """
import os, sys
from vlmscale.jobs.import_server import run_process
given = {"GIVEN": "so", "ASKER": str(os.getpid())}
status = run_process([sys.executable, "-m", *sys.argv[1:]], {**os.environ, **given})
print("status", status, flush=True)
"""
PROBE = """
import os, sys, time
imported = "torch was imported" if "torch" in sys.modules else "cold"
about = (sys.argv[1:], os.environ["GIVEN"], os.getcwd(), "VLMSCALE_WARM" in os.environ)
ids = f"pid {os.getpid()} {os.environ['ASKER']}"
lines = [ids, f"{imported} {os.getpid() != os.getppid()}", " ".join(map(str, about)), ""]
os.write(1, "\\n".join(lines).encode())
if sys.argv[1] == "sleep":
    time.sleep(60)
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else "said at the end")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "asker.py").write_text(ASKER)
    (tmp_path / "probe.py").write_text(PROBE)
    return tmp_path


WARM = [sys.executable, "-m", "vlmscale.jobs.import_server"]


def asker(*arguments):
    return [sys.executable, "asker.py", "probe", *arguments]


def launched(folder, command):
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(folder, command):
    process = launched(folder, command)
    lines = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0, lines
    return [line for line in lines if not line.startswith("pid")]


def test_warm_is_as_cold(folder):
    jobs = [asker("0"), asker("7"), asker("text")]
    every = ["sh", "-ec", "; ".join(map(shlex.join, jobs))]
    warm, cold = said(folder, [*WARM, *every]), said(folder, every)
    expected = []
    for argument, end in (
        ("0", ["status 0"]),
        ("7", ["status 7"]),
        ("text", ["said at the end", "status 1"]),
    ):
        expected += ["IMPORTED True", f"['{argument}'] so {folder} False", *end]
    assert warm == [line.replace("IMPORTED", "torch was imported") for line in expected]
    assert cold == [line.replace("IMPORTED", "cold") for line in expected]


SAVER = """
import os, signal, sys, time
if os.path.exists("state"):
    sys.exit("resumed at step " + open("state").read())
def save(*_):
    open("state", "w").write("7")
    os.write(1, b"saved\\n")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
os.write(1, b"ready\\n")
time.sleep(60)
"""
# Like snakemake, which waits for its jobs when it is asked to end.
PATIENT = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: None)
subprocess.Popen([sys.executable, "asker.py", "saver"]).wait()
"""


def test_jobs_are_asked_to_save_when_the_run_is_asked_to_end(folder, cost_of):
    cost = cost_of("`make run` gets SIGTERM: a shutdown")
    (folder / "saver.py").write_text(SAVER)
    command = [*WARM, sys.executable, "-c", PATIENT]
    run = launched(folder, command)
    with run:
        assert run.stdout.readline() == "ready\n"
        run.terminate()
        assert run.stdout.read() == "saved\nstatus 75\n"
    assert run.returncode == 0
    resumed = cost.run(SAME, said, folder, command)[0]
    cost.lose(7 - int(resumed.removeprefix("resumed at step ")), "steps")


# A command with as many askers of a sleeping job as it is told.
ASKERS = """
import subprocess, sys
command = [sys.executable, "asker.py", "probe", "sleep"]
for asker in [subprocess.Popen(command) for _ in range(int(sys.argv[1]))]:
    asker.wait()
"""


def started(folder, jobs):
    """The import server, and (job, asker), the ids of each sleeping job and of its asker."""
    process = launched(folder, [*WARM, sys.executable, "-c", ASKERS, str(jobs)])
    lines = [process.stdout.readline() for _ in range(3 * jobs)]
    pairs = [tuple(map(int, line.split()[1:])) for line in lines if line.startswith("pid")]
    assert len(pairs) == jobs
    return process, pairs


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pid, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def test_jobs_end_when_killed_with_their_asker_and_with_the_command(folder):
    process, ((killed, _), (orphan, asker), (last, _)) = started(folder, 3)
    with process:
        os.kill(killed, signal.SIGKILL)
        assert process.stdout.readline() == f"status {-signal.SIGKILL}\n"
        os.kill(asker, signal.SIGKILL)
        assert ended(orphan)
        assert not ended(last, seconds=0)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        assert ended(last)
    assert process.returncode == 128 + signal.SIGKILL


def test_a_job_ends_with_the_warm_process_and_starts_again(folder, cost_of):
    cost = cost_of("the process that shares its imports is killed")
    process, ((pid, _),) = started(folder, 1)
    with process:
        process.kill()
        assert ended(pid)
        assert "the import server died" in process.stdout.read()
    process, again = cost.run(SAME, started, folder, 1)
    cost.lose(len(again), "jobs, each from its last checkpoint on")
    with process:
        process.terminate()
        os.kill(again[0][0], signal.SIGKILL)
        process.stdout.read()


def test_the_folder_for_temporary_files_may_be_deeper_than_a_socket_s_address(
    folder, monkeypatch, cost_of
):
    cost = cost_of("TMPDIR has a long path")
    place = folder / ("t" * 90)
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    lines = said(folder, [*WARM, *asker("3")])
    assert lines == ["torch was imported True", f"['3'] so {folder} False", "status 3"]
    cost.lose(lines.count("cold True"), "imports")


def test_without_a_socket_every_job_imports_by_itself(folder, cost_of):
    cost = cost_of("TMPDIR cannot hold a socket")
    (folder / "sitecustomize.py").write_text(NO_SOCKETS)
    lines = said(folder, [*WARM, *asker("3")])
    assert lines[0] == "Every job imports torch by itself: no import server, [Errno 1] not here."
    assert lines[1:] == ["cold True", f"['3'] so {folder} False", "status 3"]
    cost.lose(lines.count("cold True"), "imports of torch by each job")


NO_SOCKETS = """
import socket
def fail(*_):
    raise PermissionError(1, "not here")
socket.socket.bind = fail
"""


def test_an_address_that_leads_nowhere_is_passed_over(folder, monkeypatch):
    monkeypatch.setenv("VLMSCALE_WARM", str(folder / "gone"))
    assert said(folder, asker("3")) == ["cold True", f"['3'] so {folder} True", "status 3"]
