from pathlib import Path

from vlmscale.data import llava
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    llava.prepare(
        snakemake.params.dataset, Path(snakemake.output[0]), expected=snakemake.params.expected
    )
