from pathlib import Path

from vlmscale.analysis.comparisons.paired import compare_methods
from vlmscale.analysis.comparisons.suites import correct_for_chance, leave_one_out
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    series = {name: Selection(**cells) for name, cells in params.series.items()}
    errors, samples, chance = map(read_parquet, (source.errors, source.samples, source.chance))
    tables = {
        "paired": compare_methods(
            errors, samples, params.baseline, draws=params.draws, seed=params.seed
        ),
        "suites": leave_one_out(errors, series),
        "corrected": correct_for_chance(errors, chance),
    }
    provenance = {"source": read_provenance(Path(source.errors)), "seed": params.seed}
    for name, table in tables.items():
        write_parquet(Path(output[name]), table, provenance)
