from pathlib import Path

import pandas as pd

from vlmscale.analysis.decisions.latency import join_latency
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.jobs.entry import logged
from vlmscale.report.figures.latency import draw
from vlmscale.report.figures.style import save

with logged(snakemake.log[0]):
    errors = select_family_means(pd.read_parquet(snakemake.input.errors))
    table = join_latency(
        errors[errors["budget"] == snakemake.params.budget],
        pd.read_parquet(snakemake.input.latency),
        text_tokens=snakemake.params.text_tokens,
    )
    figure = draw(table, title=snakemake.params.title, text_tokens=snakemake.params.text_tokens)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
