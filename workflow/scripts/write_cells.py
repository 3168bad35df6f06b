from pathlib import Path

from vlmscale.jobs.entry import logged
from vlmscale.study.grid import Cell, write_cells

with logged(snakemake.log[0]):
    cells = [Cell(**cell) for cell in snakemake.params.cells]
    write_cells(Path(snakemake.output[0]), snakemake.params.study, cells)
