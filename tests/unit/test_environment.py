"""The environment is the lock's, and pip's only complaint is the missing torchvision."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements" / "lock.txt"


def test_installed_versions_are_the_locked_ones():
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", LOCK.read_text(), re.M):
        assert importlib.metadata.version(name) == version, name


def test_torchvision_is_absent_and_nothing_else_is_missing():
    assert importlib.util.find_spec("torchvision") is None
    check = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120
    )
    complaints = [line for line in check.stdout.splitlines() if "requires" in line]
    assert complaints
    assert all("torchvision" in line for line in complaints), check.stdout
