from pathlib import Path

import pandas as pd

from vlmscale.analysis.fits import family_means, fit_laws, forms_table, interval_table
from vlmscale.analysis.frontier import frontier_table
from vlmscale.jobs import logged
from vlmscale.tables import read_provenance, write_parquet

with logged(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    errors = family_means(pd.read_parquet(snakemake.input.errors))
    provenance = {"source": read_provenance(Path(snakemake.input.errors)), "seed": params.seed}
    laws = fit_laws(errors, params.series)
    spread = interval_table(
        errors,
        laws,
        params.series,
        text_tokens=params.text_tokens,
        draws=params.draws,
        seed=params.seed,
    )
    write_parquet(Path(output.laws), laws, provenance)
    write_parquet(Path(output.intervals), spread, provenance)
    write_parquet(Path(output.forms), forms_table(errors, params.series), provenance)
    frontier = frontier_table(errors, params.series, params.text_tokens)
    write_parquet(Path(output.frontier), frontier, provenance)
