"""The documentation site builds strictly, with its generated pages and its executed notebook."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def build(root, site):
    """Run `mkdocs build --strict` in the checkout `root`."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


@pytest.fixture
def checkout(tmp_path):
    """What the site is made of, where it may be damaged."""
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config", "results", "benchmarks", "profiles", "rules", "tests", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    for file in ROOT.glob("*.*"):
        if file.is_file():
            shutil.copy(file, tmp_path)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    return tmp_path


def test_the_site_builds_with_its_generated_pages(tmp_path):
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    config = (tmp_path / "reference/config.html").read_text()
    assert "visual_tokens" in config
    assert "batch_size" in config
    assert "vlmscale recommend" in (tmp_path / "reference/cli.html").read_text()
    assert "tokenpacker" in (tmp_path / "reference/methods.html").read_text()
    assert "fit_power_law" in (tmp_path / "reference/api.html").read_text()
    faults = (tmp_path / "reliability.html").read_text()
    assert "a training is killed: SIGKILL, memory full, a power cut" in faults
    assert "at most 4 steps, of 4 between checkpoints" in faults
    notebook = re.sub("<[^>]+>", "", (tmp_path / "notebook/law.html").read_text())
    assert "alpha = 0.0709, beta = 0.0151" in notebook
    assert "Qwen1.5-14B" in notebook


@pytest.mark.parametrize(
    ("page", "text", "says"),
    [
        ("docs/glossary.md", "[nowhere](nowhere.md)", "nowhere.md"),
        ("docs/glossary.md", "[a script](../workflow/nothing.py)", "nothing.py"),
        ("docs/glossary.md", "[part](slurm.md#no-such-part)", "no-such-part"),
        ("config/README.md", "[nowhere](../docs/nowhere.md)", "nowhere.md"),
        ("docs/glossary.md", "[a name][vlmscale.no_such_name]", "no_such_name"),
    ],
)
def test_a_dead_link_stops_the_build(checkout, page, text, says):
    if page.startswith("config"):
        (checkout / "config").unlink()
        shutil.copytree(ROOT / "config", checkout / "config")
    with (checkout / page).open("a") as file:
        file.write(f"\n{text}\n")
    site = (checkout / "mkdocs.yml").read_text()
    (checkout / "mkdocs.yml").write_text(site.replace("execute: true", "execute: false"))
    done = build(checkout, checkout / "site")
    assert done.returncode != 0
    assert says in done.stdout
