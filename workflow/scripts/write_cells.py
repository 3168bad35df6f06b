from pathlib import Path

from vlmscale.cells import Cell, write_cells
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    cells = [Cell(**cell) for cell in snakemake.params.cells]
    write_cells(Path(snakemake.output[0]), snakemake.params.study, cells)
