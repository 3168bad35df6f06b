from pathlib import Path

import pandas as pd

from vlmscale.analysis.fits import family_means, law_of
from vlmscale.figures.fig1 import draw_figure1
from vlmscale.figures.style import save
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    params, wildcards = snakemake.params, snakemake.wildcards
    errors = family_means(pd.read_parquet(snakemake.input.errors))
    points = errors[errors["method"].isin(params.methods) & (errors["family"] == wildcards.family)]
    laws, spread = (
        table[(table["series"] == params.series) & (table["family"] == wildcards.family)]
        for table in map(pd.read_parquet, (snakemake.input.laws, snakemake.input.intervals))
    )
    law = law_of(laws.iloc[0].to_dict())
    figure = draw_figure1(points, law, spread, text_tokens=params.text_tokens, title=params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
