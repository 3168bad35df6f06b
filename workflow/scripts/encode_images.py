from pathlib import Path

from vlmscale.jobs.entry import logged
from vlmscale.jobs.process import carry_out
from vlmscale.training.spec import FeaturesSpec

with logged(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    spec = FeaturesSpec(
        data=files.data,
        tower=files.tower,
        feature_layers=params.feature_layers,
        output=snakemake.output[0],
    )
    carry_out(spec, "vlmscale.training", "encoding images", Path(params.work))
