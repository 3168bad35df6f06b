from pathlib import Path

from vlmscale.analysis.study import fit_study
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    source, params = snakemake.input, snakemake.params
    tables = fit_study(
        read_parquet(source.errors),
        read_parquet(source.samples) if source.get("samples") else None,
        {name: Selection(**cells) for name, cells in params.series.items()},
        params.text_tokens,
        draws=params.draws,
        seed=params.seed,
    )
    provenance = {"source": read_provenance(Path(source.errors)), "seed": params.seed}
    for name, table in tables.items():
        write_parquet(Path(snakemake.output[name]), table, provenance)
