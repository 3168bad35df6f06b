from pathlib import Path

from vlmscale.analysis.reference import select_reference
from vlmscale.jobs.entry import log_to
from vlmscale.records.files import atomic_path
from vlmscale.records.parquet import read_parquet

with log_to(snakemake.log[0]):
    tables = select_reference({name: read_parquet(file) for name, file in snakemake.input.items()})
    for name, table in tables.items():
        with atomic_path(Path(snakemake.output[name])) as scratch:
            table.to_csv(scratch, index=False, lineterminator="\n")
