from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import log_to
from vlmscale.report.figures.paired import draw
from vlmscale.report.figures.style import save

with log_to(snakemake.log[0]):
    figure = draw(pd.read_parquet(snakemake.input[0]), title=snakemake.params.title)
    save(figure, Path(snakemake.output.pdf), Path(snakemake.output.png))
