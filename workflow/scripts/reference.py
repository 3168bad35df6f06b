from pathlib import Path

import pandas as pd

from vlmscale.analysis.reference import select_reference
from vlmscale.jobs.entry import log_to
from vlmscale.records.files import atomic_path

with log_to(snakemake.log[0]):
    tables = select_reference(
        **{name: pd.read_parquet(file) for name, file in snakemake.input.items()}
    )
    for name, table in tables.items():
        with atomic_path(Path(snakemake.output[name])) as scratch:
            table.to_csv(scratch, index=False, lineterminator="\n")
