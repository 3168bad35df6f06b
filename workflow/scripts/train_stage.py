from vlmscale.jobs import logged
from vlmscale.training.launch import launch
from vlmscale.training.spec import StageSpec

with logged(snakemake.log[0]):
    files = {name: file for name, file in snakemake.input.items() if file}
    launch(
        StageSpec(
            **snakemake.params.spec,
            **{"features": None, "projector": None, **files},
            output=snakemake.output.result,
            record=snakemake.output.record,
            paths={"work": snakemake.params.work, "tensorboard": snakemake.params.tensorboard},
        )
    )
