from pathlib import Path

from vlmscale.evaluation.fetch import fetch_benchmarks
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.jobs.entry import log_to

with log_to(snakemake.log[0]):
    fetch_benchmarks(
        read_benchmarks(list(snakemake.params.benchmarks)),
        Path(snakemake.output[0]),
        work=Path(snakemake.params.work),
        raw=Path(raw) if (raw := snakemake.params.get("raw")) else None,
    )
