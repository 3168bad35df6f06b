"""Result tables as Parquet files that record their provenance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vlmscale.records.files import atomic_path, list_versions

_KEY = b"vlmscale"


def write_parquet(path: Path, frame: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write `frame` with `provenance` and the package versions in the file's metadata.

    The file depends on neither time nor machine: equal results are equal bytes.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    record = json.dumps({"versions": list_versions(), **provenance}, sort_keys=True).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: record})
    with atomic_path(path) as scratch:
        pq.write_table(table, scratch)


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the record that write_parquet stored, or an empty one for any other file."""
    metadata = pq.read_schema(path).metadata or {}
    return dict(json.loads(metadata.get(_KEY, b"{}")))
