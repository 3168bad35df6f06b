from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet
from vlmscale.report.figures.catalogue import draw_figure
from vlmscale.report.figures.style import save

with log_to(snakemake.log[0]):
    tables = {name: read_parquet(file) for name, file in snakemake.input.items()}
    for pdf, png in zip(snakemake.output.pdf, snakemake.output.png, strict=True):
        figure = draw_figure(Path(pdf).stem, tables, **snakemake.params.options)
        save(figure, Path(pdf), Path(png))
