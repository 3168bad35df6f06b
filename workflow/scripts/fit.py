from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import family_means, fit_laws
from vlmscale.analysis.frontier import frontier_table
from vlmscale.jobs import logged
from vlmscale.tables import read_provenance, write_parquet

with logged(snakemake.log[0]):
    errors = family_means(pd.read_parquet(snakemake.input.errors))
    provenance = {"source": read_provenance(Path(snakemake.input.errors))}
    series = snakemake.params.series
    write_parquet(Path(snakemake.output.laws), fit_laws(errors, series), provenance)
    frontier = frontier_table(errors, series, snakemake.params.text_tokens)
    write_parquet(Path(snakemake.output.frontier), frontier, provenance)
