"""Damaged results of the smoke study are noticed by the jobs that read them; `make fuzz-results` tries all."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.smoke
RULES = ["collect", "fit", "tables", "encode_images", "evaluate_cell", "report_pages"]


def test_every_damage_is_named_or_of_no_effect(smoke):
    program = [sys.executable, "-m"]
    command = [*program, "vlmscale.jobs.import_server", *program, "tests.fuzz.results"]
    done = subprocess.run(
        [*command, "config/smoke.yaml", "--most", "2", "--rules", *RULES],
        cwd=ROOT,
        env=smoke.environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "results: 36 damages" in done.stdout
    assert " noticed" in done.stdout
