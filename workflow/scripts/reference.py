from pathlib import Path

import pandas as pd

from vlmscale.analysis.reference import reference_tables
from vlmscale.jobs import logged
from vlmscale.provenance import atomic_path, read_json

with logged(snakemake.log[0]):
    source = snakemake.input
    tables = reference_tables(
        *(pd.read_parquet(source[name]) for name in ("errors", "laws", "intervals", "verdicts")),
        [read_json(Path(file)) for file in (*source.stage1, *source.stage2)],
    )
    for name, table in tables.items():
        with atomic_path(Path(snakemake.output[name])) as scratch:
            table.to_csv(scratch, index=False, lineterminator="\n")
