"""The workflow started from elsewhere: the same plan, results in the working directory."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tests.support.trees import read_plan

CONFIG = ROOT / "config/smoke.yaml"
MODULE = f"""
configfile: "{CONFIG}"
module vlmscale:
    snakefile: "{ROOT}/Snakefile"
    config: config
use rule * from vlmscale
"""


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """The whole smoke study as planned in a working directory of its own."""
    elsewhere = tmp_path_factory.mktemp("directory")
    snakefile = ("--snakefile", "Snakefile", "--directory", elsewhere)
    return read_plan(run(ROOT, "-n", *snakefile, "--configfile", "config/smoke.yaml"))


def test_another_directory_has_the_plan_of_a_checkout_without_results(plan, empty):
    assert plan == empty.planned()


def test_a_workflow_that_has_this_one_as_a_module_has_its_plan(plan, tmp_path):
    (tmp_path / "Snakefile").write_text(MODULE)
    assert read_plan(run(tmp_path, "-n", "all")) == plan


def test_results_come_to_the_working_directory(tmp_path):
    target = "results/published/laws.parquet"
    run(tmp_path, "--snakefile", ROOT / "Snakefile", "--directory", "here", target)
    assert {path.name for path in (tmp_path / "here").iterdir()} == {".snakemake", "results"}
    assert (tmp_path / "here" / target).exists()
