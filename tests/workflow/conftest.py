"""The smoke study, run once by the real command, and copies of it that tests may damage."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = (
    "Snakefile",
    "rules",
    "workflow",
    "config",
    "envs",
    "profiles",
    "requirements",
    "src",
)

# Rules that a change of any cell runs again; a change of the grid also runs write_cells.
JOINT = {
    "all",
    "audit",
    "collect",
    "compare",
    "cost",
    "cost_figure",
    "figures",
    "fit",
    "latency_figure",
    "paired_figure",
    "side_by_side_figure",
    "tables",
    "verdicts",
}


@dataclass(frozen=True)
class Tree:
    """A checkout in which snakemake can be run."""

    path: Path

    def command(self, *arguments, config="config/smoke.yaml"):
        python = [sys.executable, "-m"]
        command = [
            *python,
            "vlmscale.jobs.import_server",
            *python,
            "snakemake",
            "--cores",
            "2",
            *arguments,
        ]
        return [*command, "--configfile", config] if config else command

    @property
    def environment(self):
        return {**os.environ, "PYTHONPATH": str(self.path / "src")}

    def snakemake(self, *arguments, config="config/smoke.yaml", timeout=900, **environment):
        return subprocess.run(
            self.command(*arguments, config=config),
            cwd=self.path,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def planned(self, *targets, config="config/smoke.yaml"):
        """What a dry run would do: {rule: [wildcards of each job]}."""
        done = self.snakemake("-n", *targets, config=config)
        assert done.returncode == 0, done.stdout
        jobs = {}
        for block in re.split(r"\n(?=(?:local)?rule )", done.stdout):
            head = re.match(r"(?:local)?rule (\w+):", block)
            if head:
                wildcards = re.search(r"^    wildcards: (.*)$", block, re.M)
                jobs.setdefault(head[1], []).append(wildcards[1] if wildcards else "")
        return jobs


@pytest.fixture
def empty(tmp_path):
    """A checkout without results."""
    for name in COPIED:
        (tmp_path / name).symlink_to(ROOT / name)
    return Tree(tmp_path)


@pytest.fixture(scope="session")
def smoke():
    """The finished smoke study of this checkout; of several test processes one makes it, others wait."""
    tree, lock = Tree(ROOT), ROOT / ".snakemake/smoke.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = tree.snakemake(timeout=1800)
    assert done.returncode == 0, done.stdout[-5000:]
    return tree


@pytest.fixture
def copy(smoke, tmp_path):
    """A copy of the checkout with the finished study; times and metadata are kept."""
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    for name in ("smoke", "published"):  # a study is drawn beside the published laws
        shutil.copytree(ROOT / "results" / name, tmp_path / "results" / name)
    (tmp_path / ".snakemake").mkdir()
    shutil.copytree(ROOT / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    return Tree(tmp_path)
