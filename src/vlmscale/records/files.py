"""Write files atomically, and list the package versions that a result depends on."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Packages whose version can change a number; every result records them.
PACKAGES = ("vlmscale", "numpy", "scipy", "pandas", "pyarrow", "torch", "transformers", "lmms-eval")


def list_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the version of each package that is installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path for a file or folder; move it to `path` if the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield scratch / path.name
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(scratch / path.name, path)
    finally:
        shutil.rmtree(scratch)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` atomically as JSON with sorted keys: equal values give equal bytes."""
    with atomic_path(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    return dict(json.loads(path.read_text()))
