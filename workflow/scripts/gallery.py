from pathlib import Path

from vlmscale.evaluation.spec import parse_benchmark
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet
from vlmscale.report.gallery import write_gallery

with log_to(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    write_gallery(
        Path(snakemake.output.page),
        params.study,
        read_parquet(given.errors),
        dict(zip(params.cells, map(Path, given.samples), strict=True)),
        [parse_benchmark(row) for row in params.benchmarks],
        Path(given.data),
        most=params.most,
    )
