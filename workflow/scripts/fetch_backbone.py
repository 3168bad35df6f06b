from pathlib import Path

from pydantic import TypeAdapter

from vlmscale.data.hub import fetch_backbone
from vlmscale.jobs.entry import log_to
from vlmscale.settings import Released, ReleasedTower

with log_to(snakemake.log[0]):
    fetch_backbone(
        TypeAdapter(ReleasedTower | Released).validate_python(snakemake.params.backbone),
        Path(snakemake.output.model),
        Path(snakemake.output.record),
        work=Path(snakemake.params.work),
        pickled=snakemake.params.pickled,
    )
