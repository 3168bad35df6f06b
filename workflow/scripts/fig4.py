from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import select_cells
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.jobs.entry import logged
from vlmscale.report.figures.fig4 import draw
from vlmscale.report.figures.style import save
from vlmscale.study.selection import Selection

with logged(snakemake.log[0]):
    params = snakemake.params
    errors = select_family_means(pd.read_parquet(snakemake.input.errors))
    errors = select_cells(errors, Selection(**params.selection))
    families = dict(list(errors.groupby("family", sort=False)))
    figure = draw(families, params.configurations, params.reference, title=params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
