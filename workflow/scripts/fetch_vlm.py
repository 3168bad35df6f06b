from pathlib import Path

from vlmscale.data.hub_vlms import fetch_vlm
from vlmscale.jobs.entry import log_to
from vlmscale.settings.vlms import ReleasedVlm

with log_to(snakemake.log[0]):
    fetch_vlm(
        ReleasedVlm(**snakemake.params.model),
        Path(snakemake.output.model),
        Path(snakemake.output.record),
        work=Path(snakemake.params.work),
    )
