"""A study on the cluster of the tests, in a checkout of its own."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.support.paths import ROOT
from tests.support.trees import COPIED

HERE = Path(__file__).parent
OUT = "results/slurm-tests"
SNAKEMAKE = (sys.executable, "-m", "vlmscale.jobs.import_server", sys.executable, "-m", "snakemake")
# What tests change of the profile: no database, no patience. Account and partition are the cluster's defaults.
OVERRIDES = [
    "--default-resources",
    "mem_mb=2000",
    "runtime=60",
    "slurm_extra=--signal=TERM@300",
    "--jobs",
    "2",
    "--local-cores",
    "2",
    "--latency-wait",
    "5",
    "--max-jobs-per-timespan",
    "100/1s",
    "--slurm-init-seconds-before-status-checks",
    "1",
]


@dataclass(frozen=True)
class Study:
    """A checkout of its own with the study study.yaml, and the cluster that it runs on."""

    path: Path
    cluster: Cluster
    drivers: list = field(default_factory=list)

    def start(self, *arguments):
        """Start `snakemake --profile slurm` and return the process; what it prints goes to driver.log."""
        command = [sys.executable, str(HERE / "driver.py"), "--profile", "slurm", *OVERRIDES]
        command += [f"--slurm-status-command={'sacct' if self.cluster.database else 'squeue'}"]
        with (self.path / "driver.log").open("a") as log:
            driver = subprocess.Popen(
                [*command, *arguments, "--configfile", "study.yaml"],
                cwd=self.path,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.drivers.append(driver)
        return driver

    def stop(self):
        """End what a failed test has left running."""
        if any(driver.poll() is None for driver in self.drivers):
            for driver in self.drivers:
                driver.kill()
            self.cluster.cancel()

    @property
    def environment(self):
        return {**self.cluster.environment, "PYTHONPATH": str(self.path / "src")}

    def finish(self, driver, seconds=300):
        """Wait for a driver to end well; returns all that drivers have printed."""
        try:
            status = driver.wait(seconds)
        except subprocess.TimeoutExpired:
            status = "none in time"
        printed = (self.path / "driver.log").read_text()
        assert status == 0, f"status {status}\n{printed[-6000:]}"
        return printed

    def local(self, *arguments, seconds=600):
        """Run snakemake without the cluster; returns what it prints."""
        done = subprocess.run(
            [*SNAKEMAKE, "--cores", "2", *arguments, "--configfile", "study.yaml"],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def copy(self, path):
        """The study in another folder; times and metadata are kept."""
        shutil.copytree(self.path, path, symlinks=True, dirs_exist_ok=True)
        (path / "driver.log").unlink()
        return Study(path, self.cluster)

    def edit(self, file, old, new):
        text = (self.path / file).read_text()
        assert old in text
        (self.path / file).write_text(text.replace(old, new, 1))

    def jobs(self):
        """This checkout's jobs in Slurm, first to last, those that have ended included."""
        found = self.cluster.jobs().values()
        return [job for job in found if job["WorkDir"] == str(self.path)]

    def submitted(self):
        """{comment: its last job}."""
        return {job["Comment"]: job for job in self.jobs()}


def checkout(path, cluster):
    for name in COPIED:
        source, target = ROOT / name, path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    (path / "slurm").symlink_to("profiles/slurm")
    shutil.copy2(HERE / "study.yaml", path)
    return Study(path, cluster)
