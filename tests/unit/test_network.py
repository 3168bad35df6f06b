"""Training and evaluation in a network namespace: they need no network, and look up no address."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from tests.support.trainings import stage_spec
from vlmscale.evaluation.spec import EvaluationSpec, read_benchmarks
from vlmscale.jobs.import_server import NO_HUB
from vlmscale.jobs.process import write_spec
from vlmscale.training.launch import prepare

# Of each Python process: addresses that it looks up or connects to, those of this machine's sockets left out.
WATCH = """
import os, socket, sys
def note(event, arguments):
    far = event == "socket.connect" and arguments[0].family != socket.AF_UNIX
    if far or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        handle = os.open(os.environ["ATTEMPTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{event} {arguments[-1] if far else arguments[0]}\\n".encode())
        os.close(handle)
sys.addaudithook(note)
"""


@pytest.fixture
def run(tmp_path):
    """run(command) in a namespace without a network -> the finished process and the addresses it wanted."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace")
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch/sitecustomize.py").write_text(WATCH)
    attempts = tmp_path / "attempts"
    path = os.pathsep.join([str(tmp_path / "watch"), *sys.path])
    environment = {**os.environ, **NO_HUB, "PYTHONPATH": path, "ATTEMPTS": str(attempts)}

    def run_apart(command):
        done = subprocess.run(
            ["unshare", "--net", *command], env=environment, capture_output=True, text=True
        )
        return done, attempts.read_text().splitlines() if attempts.exists() else []

    return run_apart


def test_the_watch_sees_what_is_looked_up(run):
    code = "import socket\ntry: socket.getaddrinfo('huggingface.co', 443)\nexcept OSError: print('none')"
    done, attempts = run([sys.executable, "-c", code])
    assert done.stdout == "none\n"
    assert attempts == ["socket.getaddrinfo huggingface.co"]


@pytest.mark.slow
def test_a_cell_is_trained_and_evaluated_without_a_network(run, backbones, splits, tmp_path):
    training = stage_spec(backbones, splits, tmp_path / "run")
    done, attempts = run(prepare(training))
    assert done.returncode == 0, done.stderr[-2000:]
    assert attempts == []
    spec = EvaluationSpec(
        model=training.output,
        data=splits["test"],
        features=None,
        benchmarks=read_benchmarks(["exist", "char"]),
        protocol="lmms",
        batch_size=32,
        cell={"cell": "tiny"},
        trained={"method": "tokenpacker", "visual_tokens": 4, "options": training.options},
        evaluated={"method": "tokenpacker", "visual_tokens": 4, "options": training.options},
        fingerprint="f",
        samples=tmp_path / "samples.parquet",
        scores=tmp_path / "scores.parquet",
    )
    file = write_spec(spec, tmp_path / "evaluation")
    done, attempts = run([sys.executable, "-m", "vlmscale.evaluation", str(file)])
    assert done.returncode == 0, done.stderr[-2000:]
    assert attempts == []
    assert pd.read_parquet(spec.scores)["benchmark"].tolist() == ["exist", "char"]
