"""tests/gpu passes on the CPU, so that a GPU is not the first to run it, and needs few packages."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def run_bare(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tests.support.bare_environment", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_the_rehearsal_passes_with_few_packages():
    """DeepSpeed is the one optional package; the rest of the lock stays hidden."""
    done = run_bare("--also", "deepspeed", "tests/gpu", VLMSCALE_DEVICE="cpu")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout


def test_collecting_needs_no_deepspeed():
    done = run_bare("tests/gpu", "--collect-only", VLMSCALE_DEVICE="cpu")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "test_zero_trains_as_one_process" in done.stdout


def test_without_a_gpu_the_reason_is_given():
    done = run_bare(
        "tests/gpu/test_supervised_forward.py",
        "-rs",
        CUDA_VISIBLE_DEVICES="",
        VLMSCALE_DEVICE="cuda",
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "no CUDA device; VLMSCALE_DEVICE=cpu rehearses on the CPU" in done.stdout
    assert "passed" not in done.stdout
