from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import log_to
from vlmscale.report.figures.catalogue import draw_figure
from vlmscale.report.figures.style import save

OPTIONS = ("selection", "configurations", "reference", "title")
with log_to(snakemake.log[0]):
    tables = {name: pd.read_parquet(file) for name, file in snakemake.input.items()}
    options = {name: snakemake.params[name] for name in OPTIONS}
    save(
        draw_figure("fig4", tables, **options),
        Path(snakemake.output.pdf),
        Path(snakemake.output.png),
    )
