from pathlib import Path

import pandas as pd

from vlmscale.figures.cost import draw
from vlmscale.figures.style import save
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    figure = draw(pd.read_parquet(snakemake.input[0]), title=snakemake.params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
