"""The wheel with its core dependencies alone: laws and recommendations anywhere, without torch."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.cli import call_json, read_scores
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def find_distributions(requirements, extra=""):
    """Return the installed distributions that `requirements` need, by name."""
    found = {}
    for text in requirements:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            for wanted in ("", *requirement.extras):
                found |= find_distributions(found[name].requires or [], wanted)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The python of an environment that holds the wheel and its core dependencies, linked."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder)
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env")
    python = folder / "env/bin/python"
    install = ("--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([*pip, *install], check=True, env=clean)
    (site,) = (folder / "env/lib").glob("python*/site-packages")
    for distribution in find_distributions(PROJECT["dependencies"]).values():
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(distribution.locate_file(name)))
    return python


@pytest.fixture
def run(installed, tmp_path):
    """Run a program of that environment outside any checkout; return its output, or its errors."""

    def run(program, *arguments, status=0):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(
            [installed.parent / program, *map(str, arguments)],
            **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True},
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    return run


def test_the_command_line_answers_as_in_a_checkout(run, tmp_path):
    read_scores().to_csv(tmp_path / "scores.csv", index=False)
    assert run("vlmscale", "--version") == f"vlmscale {PROJECT['version']}\n"
    for command in (
        ("recommend", "--gflops", 2000),
        ("fit", tmp_path / "scores.csv", "--draws", 10),
        ("audit", "--claim", "C13"),
    ):
        told = json.loads(run("vlmscale", *command, "--json"))
        assert_close(told, call_json(*command))


def assert_close(found, expected):
    """Compare JSON; numbers may differ in their last digits, as other builds of numpy round otherwise."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6)
    else:
        assert found == expected


def test_python_answers_without_torch(run):
    code = """
import importlib.util, pandas as pd, vlmscale as vs
from vlmscale.resources import find_resource
for name in ("torch", "transformers", "snakemake", "datasets"):
    assert importlib.util.find_spec(name) is None, name
scores = pd.read_csv(find_resource("published/reasoning_scores.csv"))
law = vs.fit_power_law(scores.assign(error=1 - scores["score"]))
print(f"{law.alpha:.4f}", vs.recommend(gflops=2000).choice["llm"], vs.__version__)
try:
    vs.load_model("folder")
except vs.UserError as error:
    print(error)
"""
    first, second = run("python", "-c", code).splitlines()
    assert first == f"0.0709 Qwen1.5-14B {PROJECT['version']}"
    assert second.endswith("which is not installed: pip install 'vlmscale[train]'")


def test_a_command_that_needs_an_extra_names_it(run):
    message = run("vlmscale", "data", "llava_pretrain", "folder", status=1)
    assert message.endswith("which is not installed: pip install 'vlmscale[train]'\n")


def test_extras_name_what_a_checkout_installs():
    names = {
        canonicalize_name(Requirement(text).name)
        for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for text in group
    }
    locked = {
        line.partition("==")[0]
        for line in (ROOT / "requirements/lock.txt").read_text().splitlines()
    }
    assert names - locked == {"vlmscale", "torch"}
