from pathlib import Path

from vlmscale.data.world.generate import generate_split
from vlmscale.jobs.entry import log_to
from vlmscale.settings import Counts, World

with log_to(snakemake.log[0]):
    generate_split(
        World(**snakemake.params.world),
        snakemake.params.split,
        Counts(**snakemake.params.counts),
        Path(snakemake.output[0]),
        sample=snakemake.params.sample,
        patch=snakemake.params.patch,
    )
