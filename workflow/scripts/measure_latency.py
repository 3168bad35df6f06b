from pathlib import Path

from vlmscale.jobs import logged
from vlmscale.latency.spec import LatencySpec, launch

with logged(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    spec = LatencySpec(llm=files.llm, tower=files.tower, output=snakemake.output[0], **params.spec)
    launch(spec, Path(params.work))
