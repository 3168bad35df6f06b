from pathlib import Path

from vlmscale.evaluation.fetch import fetch
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    for benchmark in read_benchmarks(Path(snakemake.input.table), snakemake.params.benchmarks):
        fetch(benchmark, Path(snakemake.output[0]))
