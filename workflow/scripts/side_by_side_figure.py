from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import log_to
from vlmscale.report.figures.side_by_side import draw
from vlmscale.report.figures.style import save

with log_to(snakemake.log[0]):
    tables = {name: pd.read_parquet(file) for name, file in snakemake.input.items()}
    figure = draw(**tables, title=snakemake.params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
