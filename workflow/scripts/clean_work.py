from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.training.checkpoint_folder import remove_leftovers

with log_to(snakemake.log[0]):
    current = {Path(folder): Path(record) for folder, record in snakemake.params.current.items()}
    for folder in remove_leftovers(Path(snakemake.params.work), current):
        print(f"removed {folder}")
