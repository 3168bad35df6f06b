from pathlib import Path

from vlmscale.evaluation.spec import EvaluationSpec, benchmark, launch
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    launch(
        EvaluationSpec(
            model=files.model,
            data=files.data,
            features=files.get("features") or None,
            benchmarks=[benchmark(row) for row in params.benchmarks],
            **params.spec,
            **snakemake.output,
        ),
        Path(params.work),
    )
