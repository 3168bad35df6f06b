from pathlib import Path

from vlmscale.data.world.questions import vocabulary
from vlmscale.jobs import logged
from vlmscale.settings import World
from vlmscale.training.backbones import train_tokenizer

with logged(snakemake.log[0]):
    train_tokenizer(
        vocabulary(World(**snakemake.params.world)),
        snakemake.params.template,
        Path(snakemake.output[0]),
    )
