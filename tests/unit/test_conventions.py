"""Files by which editors, CI and the workflow catalog know the project agree with it."""

import ast
import json
import re
import subprocess

import pytest
import yaml

from tests.support.paths import ROOT
from vlmscale.report.figures import INPUTS as FIGURES

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
    assert parts == ["check", "unit", "smoke", "slurm", "browser", "docs"]
    usage = subprocess.run(["bash", ROOT / ".ci/run", "other"], capture_output=True, text=True)
    assert usage.returncode == 2
    assert re.findall(r"\w+", usage.stderr.partition("[")[2]) == parts


def test_the_workflow_catalog_is_told_what_works():
    usage = read_yaml(".snakemake-workflow-catalog.yml")["usage"]
    assert usage["software-stack-deployment"]["conda"]
    assert (ROOT / "envs/vlmscale.yaml").exists()
    assert usage["report"]


def test_the_report_shows_every_figure_and_caption_once():
    """In the paper's order: every figure and table has one chapter and one caption."""
    source = (ROOT / "rules/report_contents.smk").read_text()
    (chapters,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
    ]
    shown = [name for names in chapters.values() for name in names]
    assert len(shown) == len(set(shown))
    captions = {
        path.relative_to(ROOT / "workflow/report").with_suffix("").as_posix()
        for path in (ROOT / "workflow/report").rglob("*.rst")
    }
    assert set(shown) == captions - {"workflow"}
    assert set(FIGURES) == {name for name in shown if "/" not in name}
    order = re.findall(r"fig\d[ab]?|table1", " ".join(shown))
    assert order == ["fig1", "fig2", "fig3a", "fig3b", "fig4", "table1"]
