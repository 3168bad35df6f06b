from pathlib import Path

from vlmscale.data.llava.prepare import prepare_dataset
from vlmscale.jobs.entry import log_to

with log_to(snakemake.log[0]):
    prepare_dataset(
        snakemake.params.dataset,
        raw=Path(snakemake.params.raw),
        output=Path(snakemake.output[0]),
        workers=snakemake.threads,
    )
