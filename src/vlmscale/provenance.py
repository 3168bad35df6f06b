"""Results appear whole or not at all, and say where they come from."""

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

# The packages whose version can change a number; recorded with every result.
PACKAGES = ("vlmscale", "numpy", "scipy", "pandas", "pyarrow", "torch", "transformers", "lmms-eval")
_KEY = b"vlmscale"


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed version of each package; a package that is not installed is left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` that becomes `path` when the block ends without an exception.

    The block may create a file or a folder there.
    """
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
    with atomic_path(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def write_parquet(path: Path, frame: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write `frame` with `provenance` and the package versions in the file's metadata.

    Nothing in it depends on the time or the machine, so equal results are equal bytes.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    record = json.dumps({"versions": versions(), **provenance}, sort_keys=True).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: record})
    with atomic_path(path) as scratch:
        pq.write_table(table, scratch)


def read_provenance(path: Path) -> dict[str, Any]:
    """The record that write_parquet left in the file; empty for a file of another origin."""
    metadata = pq.read_schema(path).metadata or {}
    return dict(json.loads(metadata.get(_KEY, b"{}")))
