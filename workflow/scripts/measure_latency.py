from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.jobs.process import run_module
from vlmscale.latency.spec import LatencySpec

with log_to(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    spec = LatencySpec(llm=files.llm, tower=files.tower, output=snakemake.output[0], **params.spec)
    run_module(spec, "vlmscale.latency", "measuring latency", Path(params.work))
