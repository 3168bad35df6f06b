"""Checkouts in which tests run the real snakemake."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

COPIED = ("Snakefile", "rules", "workflow", "config", "envs", "profiles", "requirements", "src")

# Rules that a change of any cell runs again; a change of the grid also runs write_cells.
JOINT = {
    "all",
    "audit",
    "collect",
    "compare",
    "cost",
    "cost_figure",
    "difficulty",
    "difficulty_figure",
    "explorer",
    "figures",
    "fit",
    "gallery",
    "latency_figure",
    "model_cards",
    "one_token",
    "one_token_figure",
    "paired_figure",
    "report_pages",
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
        return read_plan(done.stdout)


def read_plan(text):
    """The jobs in the output of a dry run: {rule: [wildcards of each job]}, sorted: snakemake draws their order."""
    jobs = {}
    for block in re.split(r"\n(?=(?:local)?rule )", text):
        head = re.match(r"(?:local)?rule (\w+):", block)
        if head:
            wildcards = re.search(r"^    wildcards: (.*)$", block, re.M)
            jobs.setdefault(head[1], []).append(wildcards[1] if wildcards else "")
    return {rule: sorted(found) for rule, found in jobs.items()}
