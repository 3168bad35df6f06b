"""Every environment is the lock's, and pip's only complaint is the missing torchvision."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "lock.txt"
PYTHON = "3.11"


def lock_module():
    spec = importlib.util.spec_from_file_location("lock", LOCK.with_suffix(".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_installed_versions_are_the_locked_ones():
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", LOCK.read_text(), re.M):
        assert importlib.metadata.version(name) == version, name


@pytest.mark.slow
def test_torchvision_is_absent_and_nothing_else_is_missing():
    assert importlib.util.find_spec("torchvision") is None
    check = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120
    )
    complaints = [line for line in check.stdout.splitlines() if "requires" in line]
    assert complaints
    assert all("torchvision" in line for line in complaints), check.stdout


def test_the_conda_environment_is_filled_from_this_lock():
    lock = lock_module()
    written = lock.POST_DEPLOY.read_text()
    assert written == lock.format_post_deploy(LOCK.read_text()), "run `make lock`"
    assert written != lock.format_post_deploy(LOCK.read_text() + "another==1\n")
    subprocess.run(["bash", "-n", lock.POST_DEPLOY], check=True)
    environment = yaml.safe_load((ROOT / "envs/vlmscale.yaml").read_text())
    assert environment["dependencies"] == [f"python={PYTHON}", "pip", "setuptools>=77"]


def test_one_torch_and_one_python_for_all_environments():
    torch = lock_module().TORCH
    assert LOCK.read_text().count(torch) == 1
    assert f"TORCH ?= {torch}\n" in (ROOT / "Makefile").read_text()
    dockerfile = (ROOT / "envs/Dockerfile").read_text()
    assert f"ARG TORCH={torch}\n" in dockerfile
    assert f"FROM python:{PYTHON}-" in dockerfile
    assert "--no-deps -r requirements/lock.txt" in dockerfile
    assert f'python-version: "{PYTHON}"' in (ROOT / ".github/workflows/ci.yml").read_text()


def test_every_rule_names_the_environment():
    for file in (ROOT / "rules").glob("*.smk"):
        text = file.read_text()
        scripts, environments = (
            len(re.findall(r"\n +script:", text)),
            text.count("../envs/vlmscale.yaml"),
        )
        assert scripts == environments, file
