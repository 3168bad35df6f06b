"""Result tables as Parquet files that record their provenance."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vlmscale.errors import Damaged
from vlmscale.records.files import atomic_path, list_versions
from vlmscale.records.signature import RERUN, UNSIGNED, read_signed, sign

PROVENANCE = b"vlmscale"  # key of the metadata


def write_parquet(path: Path, frame: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write `frame`, signed, with `provenance` and the package versions in the file's metadata.

    The file depends on neither time nor machine: equal results are equal bytes.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    record = {"versions": list_versions(), **provenance, **UNSIGNED}
    metadata = {PROVENANCE: json.dumps(record, sort_keys=True).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    with atomic_path(path) as scratch:
        pq.write_table(table, scratch)
        scratch.write_bytes(sign(scratch.read_bytes()))


def read_parquet(path: Path, remedy: str = RERUN, **options: Any) -> pd.DataFrame:
    """Read what `write_parquet` wrote; `options` are those of pandas.read_parquet.

    Raises UserError, ending with `remedy`, if the file has changed since.
    """
    return pd.read_parquet(BytesIO(read_signed(Path(path), remedy, required=True)), **options)


def read_provenance(path: Path, *, required: bool = True) -> dict[str, Any]:
    """Return the record that write_parquet stored; unless `required`, also of unsigned tables.

    `sha256` is the signature of the table, which so becomes part of what is made from it. Raises Damaged.
    """
    content = read_signed(path, required=required)
    try:
        metadata = pq.read_metadata(BytesIO(content)).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"{path} is damaged: no Parquet file ({error}).", RERUN, path) from None
    record = json.loads(metadata.get(PROVENANCE, b"{}"))
    return {"sha256" if key in UNSIGNED else key: value for key, value in record.items()}
