from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import selected
from vlmscale.analysis.fits import family_means
from vlmscale.figures.fig4 import draw
from vlmscale.figures.style import save
from vlmscale.jobs import logged
from vlmscale.series import Selection

with logged(snakemake.log[0]):
    params = snakemake.params
    errors = family_means(pd.read_parquet(snakemake.input.errors))
    errors = selected(errors, Selection(**params.selection))
    families = dict(list(errors.groupby("family", sort=False)))
    figure = draw(families, params.configurations, params.reference, title=params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
