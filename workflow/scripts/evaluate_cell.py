from pathlib import Path

from vlmscale.evaluation.spec import EvaluationSpec, parse_benchmark
from vlmscale.jobs.entry import log_to
from vlmscale.jobs.process import run_module

with log_to(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    spec = EvaluationSpec(
        model=files.model,
        data=files.data,
        features=files.get("features") or None,
        benchmarks=[parse_benchmark(row) for row in params.benchmarks],
        **params.spec,
        **snakemake.output,
    )
    run_module(spec, "vlmscale.evaluation", "evaluation", Path(params.work))
