from pathlib import Path

from vlmscale.evaluation.spec import EvaluationSpec, launch, read_benchmarks
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    launch(
        EvaluationSpec(
            model=files.model,
            data=files.data,
            features=files.get("features") or None,
            benchmarks=read_benchmarks(Path(files.benchmarks), params.benchmarks),
            **params.spec,
            **snakemake.output,
        ),
        Path(params.work),
    )
