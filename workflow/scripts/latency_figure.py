from pathlib import Path

import pandas as pd

from vlmscale.analysis.fits import family_means
from vlmscale.analysis.latency import error_against_latency
from vlmscale.figures.latency import draw
from vlmscale.figures.style import save
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    errors = family_means(pd.read_parquet(snakemake.input.errors))
    table = error_against_latency(
        errors[errors["budget"] == snakemake.params.budget],
        pd.read_parquet(snakemake.input.latency),
        text_tokens=snakemake.params.text_tokens,
    )
    figure = draw(table, title=snakemake.params.title, text_tokens=snakemake.params.text_tokens)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
