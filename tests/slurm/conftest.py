"""A cluster for the session, the study run on it once, and copies of the finished study for drills."""

import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import DATABASE, Cluster, missing
from tests.slurm.study import HERE, OUT, checkout


def pytest_collection_modifyitems(items):
    absent = missing()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.slurm)
            if absent:
                why = f"not installed: {', '.join(absent)}; see tests/slurm/install.sh"
                item.add_marker(pytest.mark.skip(reason=why))


@contextmanager
def started(**options):
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cluster():
    with started() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def site():
    """A cluster with a database of accounts."""
    if absent := missing(DATABASE):
        pytest.skip(f"not installed: {', '.join(absent)}; see tests/slurm/install.sh")
    with started(database=True) as cluster:
        yield cluster


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
