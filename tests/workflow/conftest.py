"""The smoke study, run once by the real command, and copies of it that tests may damage."""

import fcntl
import shutil
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.trees import COPIED, Tree


def pytest_collection_modifyitems(items):
    """Every test here starts snakemake."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


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
