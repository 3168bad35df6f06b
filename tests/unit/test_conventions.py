"""Files by which editors, CI and the workflow catalog know the project agree with it."""

import json
import re
import subprocess

import pytest
import yaml

from tests.support.paths import ROOT

CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_editors_check_every_config_against_the_schema(config):
    named = re.search(r"^# yaml-language-server: \$schema=(\S+)$", config.read_text(), re.M)
    schema = json.loads((config.parent / named[1]).read_text())
    assert "grid" in json.dumps(schema)


def test_pre_commit_runs_the_checks_of_make():
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    checks = {re.sub(r" --check| \.$| Snakefile rules", "", c) for c in recipe.split("\n\t")}
    checks = {check.strip().removeprefix("$(BIN)/").removesuffix(" .") for check in checks}
    hooks = read_yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert {hook["entry"].removeprefix(".venv/bin/") for hook in hooks} == checks


def test_every_part_of_ci_is_known():
    parts = read_yaml(".github/workflows/ci.yml")["jobs"]["part"]["strategy"]["matrix"]["part"]
    assert parts == ["check", "unit", "smoke", "slurm", "docs"]
    usage = subprocess.run(["bash", ROOT / ".ci/run", "other"], capture_output=True, text=True)
    assert usage.returncode == 2
    assert re.findall(r"\w+", usage.stderr.partition("[")[2]) == parts


def test_the_workflow_catalog_is_told_what_works():
    usage = read_yaml(".snakemake-workflow-catalog.yml")["usage"]
    assert usage["software-stack-deployment"]["conda"]
    assert (ROOT / "envs/vlmscale.yaml").exists()
    assert usage["report"]
