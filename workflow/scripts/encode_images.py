from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.jobs.process import run_module
from vlmscale.training.spec import FeaturesSpec

with log_to(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    spec = FeaturesSpec(
        data=files.data,
        tower=files.tower,
        feature_layers=params.feature_layers,
        image_size=params.get("image_size"),
        precision=params.get("precision", "fp32"),
        output=snakemake.output[0],
    )
    run_module(spec, "vlmscale.training", "encoding images", Path(params.work))
