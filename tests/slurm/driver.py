"""snakemake, asking Slurm for its jobs every two seconds; its own intervals grow while nothing ends."""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda _: 2, lambda _, seconds: None)

if __name__ == "__main__":
    sys.exit(main())
