from pathlib import Path

from vlmscale.jobs.entry import logged
from vlmscale.jobs.process import carry_out
from vlmscale.latency.spec import LatencySpec

with logged(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    spec = LatencySpec(llm=files.llm, tower=files.tower, output=snakemake.output[0], **params.spec)
    carry_out(spec, "vlmscale.latency", "measuring latency", Path(params.work))
