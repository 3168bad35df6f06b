from pathlib import Path

import pandas as pd

from vlmscale.analysis.published import published_errors
from vlmscale.jobs import logged
from vlmscale.tables import write_parquet

with logged(snakemake.log[0]):
    scores = {family: pd.read_csv(file) for family, file in snakemake.input.items()}
    provenance = {"source": "arXiv 2411.03312, released scores; see resources/published/README.md"}
    write_parquet(Path(snakemake.output.errors), published_errors(scores), provenance)
