from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import log_to
from vlmscale.report.figures.catalogue import draw_figure
from vlmscale.report.figures.style import save

OPTIONS = ("series", "selection", "text_tokens", "predicted", "printed", "title")
with log_to(snakemake.log[0]):
    tables = {name: pd.read_parquet(file) for name, file in snakemake.input.items()}
    options = {name: snakemake.params[name] for name in OPTIONS}
    for file in map(Path, snakemake.output):
        if file.suffix == ".pdf":
            figure = draw_figure(file.stem, tables, family=snakemake.wildcards.family, **options)
            save(figure, file, file.with_suffix(".png"))
