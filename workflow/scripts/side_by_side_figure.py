from pathlib import Path

import pandas as pd

from vlmscale.figures.side_by_side import draw
from vlmscale.figures.style import save
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    tables = {name: pd.read_parquet(file) for name, file in snakemake.input.items()}
    figure = draw(**tables, title=snakemake.params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
