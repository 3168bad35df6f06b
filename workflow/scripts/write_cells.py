from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.study.grid import Cell, write_cells

with log_to(snakemake.log[0]):
    cells = [Cell(**cell) for cell in snakemake.params.cells]
    write_cells(Path(snakemake.output[0]), snakemake.params.study, cells)
