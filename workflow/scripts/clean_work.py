from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.records.files import remove_scratch
from vlmscale.training.checkpoint_folder import remove_leftovers

with log_to(snakemake.log[0]):
    current = {Path(folder): Path(record) for folder, record in snakemake.params.current.items()}
    checkpoints = remove_leftovers(Path(snakemake.params.work), current)
    for folder in [*checkpoints, *remove_scratch(Path(snakemake.params.results))]:
        print(f"removed {folder}")
