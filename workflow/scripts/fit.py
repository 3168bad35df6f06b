from pathlib import Path

import pandas as pd

from vlmscale.analysis.laws import tables as fits
from vlmscale.analysis.laws.frontier import tabulate_frontiers
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_provenance, write_parquet
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    source, params = snakemake.input, snakemake.params
    series = {name: Selection(**cells) for name, cells in params.series.items()}
    errors = fits.select_family_means(pd.read_parquet(source.errors))
    samples = pd.read_parquet(source.samples) if source.get("samples") else None
    draws = fits.tabulate_draws(
        errors, series, draws=params.draws, seed=params.seed, samples=samples
    )
    tables = {
        "laws": fits.tabulate_laws(errors, series),
        "draws": draws,
        "intervals": fits.tabulate_intervals(errors, draws, series, params.text_tokens),
        "profile": fits.tabulate_profiles(errors, series),
        "variants": fits.tabulate_variants(errors, series),
        "forms": fits.tabulate_forms(errors, series),
        "frontier": tabulate_frontiers(errors, series, params.text_tokens),
        "envelope": fits.tabulate_envelopes(errors, series, params.text_tokens),
    }
    provenance = {"source": read_provenance(Path(source.errors)), "seed": params.seed}
    for name, table in tables.items():
        write_parquet(Path(snakemake.output[name]), table, provenance)
