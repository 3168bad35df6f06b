from pathlib import Path

from vlmscale.evaluation.spec import parse_benchmark
from vlmscale.evaluation.vlm_spec import VlmEvaluationSpec
from vlmscale.jobs.entry import log_to
from vlmscale.jobs.process import run_module

with log_to(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    spec = VlmEvaluationSpec(
        model=files.model,
        data=files.data,
        benchmarks=[parse_benchmark(row) for row in params.benchmarks],
        **params.spec,
        **snakemake.output,
    )
    run_module(spec, "vlmscale.evaluation.evaluate_vlm", "evaluation", Path(params.work))
