"""A cluster for the session, the study run on it once, and copies of the finished study for drills."""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..workflow.conftest import COPIED, ROOT
from .cluster import Cluster, missing

HERE = Path(__file__).parent
OUT = "results/slurm-tests"
SNAKEMAKE = (sys.executable, "-m", "vlmscale.jobs.import_server", sys.executable, "-m", "snakemake")
# What tests change of the profile: a partition of the test cluster, no database, no patience.
OVERRIDES = [
    "--default-resources",
    "slurm_account=tests",
    "slurm_partition=main",
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
    "--slurm-status-command",
    "squeue",
    "--slurm-init-seconds-before-status-checks",
    "1",
]


def pytest_collection_modifyitems(items):
    absent = missing()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if absent:
                why = f"not installed: {', '.join(absent)}; see tests/slurm/install.sh"
                item.add_marker(pytest.mark.skip(reason=why))


@dataclass(frozen=True)
class Study:
    """A checkout of its own with the study study.yaml, and the cluster that it runs on."""

    path: Path
    cluster: Cluster
    drivers: list = field(default_factory=list)

    def start(self, *arguments):
        """Start `snakemake --profile slurm` and return the process; what it prints goes to driver.log."""
        command = [sys.executable, str(HERE / "driver.py"), "--profile", "slurm", *OVERRIDES]
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


@pytest.fixture(scope="session")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


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


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory):
    """The study, run by `snakemake --profile slurm`; prints how long that took."""
    study = checkout(tmp_path_factory.mktemp("finished"), cluster)
    start = time.monotonic()
    study.finish(study.start(), seconds=900)
    print(f"the study took {time.monotonic() - start:.0f} s on Slurm")
    return study


@pytest.fixture(scope="session")
def locally(cluster, tmp_path_factory):
    """The study's tables, made without Slurm."""
    study = checkout(tmp_path_factory.mktemp("locally"), cluster)
    study.local(f"{OUT}/verdicts.parquet")
    return study


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished study, to be changed."""
    study = finished.copy(tmp_path)
    yield study
    study.stop()
