from pathlib import Path

from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet
from vlmscale.report.card import write_cards

with log_to(snakemake.log[0]):
    params = snakemake.params
    write_cards(
        Path(params.results),
        params.study,
        read_parquet(snakemake.input.errors),
        shapes={name: Decoder(**shape) for name, shape in params.shapes.items()},
        tower=Tower(**params.tower),
    )
