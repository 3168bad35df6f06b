from pathlib import Path

from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet
from vlmscale.report.explorer import write_explorer
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    params, latency = snakemake.params, snakemake.input.get("latency")
    write_explorer(
        Path(snakemake.output[0]),
        params.study,
        read_parquet(snakemake.input.errors),
        {name: Selection(**cells) for name, cells in params.series.items()},
        shapes={name: Decoder(**shape) for name, shape in params.shapes.items()},
        tower=Tower(**params.tower) if params.tower else None,
        predicted=params.predicted,
        latencies=read_parquet(latency) if latency else None,
    )
