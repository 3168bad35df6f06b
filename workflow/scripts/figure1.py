from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import family_means, law_of
from vlmscale.figures.fig1 import draw_figure1
from vlmscale.figures.style import save
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    params, wildcards = snakemake.params, snakemake.wildcards
    errors = family_means(pd.read_parquet(snakemake.input.errors))
    points = errors[errors["method"].isin(params.methods) & (errors["family"] == wildcards.family)]
    laws = pd.read_parquet(snakemake.input.laws)
    mine = (laws["series"] == params.series) & (laws["family"] == wildcards.family)
    law = law_of(laws[mine].iloc[0].to_dict())
    figure = draw_figure1(points, law, text_tokens=params.text_tokens, title=params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
