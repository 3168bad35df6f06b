from pathlib import Path

from vlmscale.jobs import logged
from vlmscale.training.backbones import train_tokenizer

with logged(snakemake.log[0]):
    train_tokenizer(
        [Path(split) for split in snakemake.input],
        snakemake.params.template,
        Path(snakemake.output[0]),
    )
