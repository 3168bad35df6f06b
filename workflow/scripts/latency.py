from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet

with log_to(snakemake.log[0]):
    files = list(map(Path, snakemake.input))
    table = pd.concat(map(read_parquet, files), ignore_index=True)
    machines = {file.stem: read_provenance(file) for file in files}
    write_parquet(Path(snakemake.output[0]), table, {"machines": machines})
