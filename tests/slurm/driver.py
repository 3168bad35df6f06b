"""snakemake, asking Slurm for its jobs every two seconds; its own intervals grow while nothing ends.

In a cluster without a database `sacct` knows nothing. The executor would take it all the same, for minutes,
when a controller that has just been started does not say its settings within ten seconds.
"""

import sys

import snakemake_executor_plugin_slurm as executor
from snakemake.cli import main

executor.Executor.next_seconds_between_status_checks = property(
    lambda _: 2, lambda _, seconds: None
)
if "--slurm-status-command=sacct" not in sys.argv:
    executor.is_query_tool_available = lambda tool: tool != "sacct"

if __name__ == "__main__":
    sys.exit(main())
