from pathlib import Path

from vlmscale.data.world.questions import list_vocabulary
from vlmscale.jobs.entry import log_to
from vlmscale.jobs.process import run_module
from vlmscale.settings import World
from vlmscale.training.spec import TokenizerSpec

with log_to(snakemake.log[0]):
    spec = TokenizerSpec(
        words=list_vocabulary(World(**snakemake.params.world)),
        template=snakemake.params.template,
        output=snakemake.output[0],
    )
    run_module(spec, "vlmscale.training", "making the tokenizer", Path(snakemake.params.work))
