from vlmscale.jobs.entry import log_to
from vlmscale.settings import Execution
from vlmscale.training.launch import launch
from vlmscale.training.spec import StageSpec

with log_to(snakemake.log[0]):
    files = {name: file for name, file in snakemake.input.items() if file}
    given = dict(snakemake.resources.items())
    launch(
        StageSpec(
            **snakemake.params.spec,
            **{"features": None, "projector": None, **files},
            output=snakemake.output.result,
            record=snakemake.output.record,
            paths={"work": snakemake.params.work, "tensorboard": snakemake.params.tensorboard},
            execution={name: given[name] for name in Execution.model_fields if name in given},
        ),
        processes=given.get("gpus", 1),
        nodes=given.get("nodes", 1),
    )
