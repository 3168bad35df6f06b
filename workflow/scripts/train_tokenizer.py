from pathlib import Path

from vlmscale.data.world.questions import list_vocabulary
from vlmscale.jobs.entry import logged
from vlmscale.jobs.process import carry_out
from vlmscale.settings import World
from vlmscale.training.spec import TokenizerSpec

with logged(snakemake.log[0]):
    spec = TokenizerSpec(
        words=list_vocabulary(World(**snakemake.params.world)),
        template=snakemake.params.template,
        output=snakemake.output[0],
    )
    carry_out(spec, "vlmscale.training", "making the tokenizer", Path(snakemake.params.work))
