from pydantic import TypeAdapter

from vlmscale.jobs.entry import log_to
from vlmscale.training.launch import launch
from vlmscale.training.spec import LlmSpec, TowerSpec

with log_to(snakemake.log[0]):
    spec = {
        **snakemake.params.spec,
        **dict(snakemake.input.items()),
        "output": snakemake.output.model,
        "record": snakemake.output.record,
        "paths": {"work": snakemake.params.work, "tensorboard": snakemake.params.tensorboard},
    }
    launch(TypeAdapter(LlmSpec | TowerSpec).validate_python(spec))
