from pathlib import Path

from vlmscale.analysis.study import decide_study
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet
from vlmscale.report.format import write_table
from vlmscale.report.tables import format_table
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    given = {name: read_parquet(file) for name, file in source.items()}
    series = {name: Selection(**cells) for name, cells in params.series.items()}
    chosen = {"baseline": params.baseline, "draws": params.draws, "seed": params.seed}
    tables = decide_study(given, series, **chosen)
    provenance = {"source": read_provenance(Path(source.errors)), "seed": params.seed}
    for name in ("verdicts", "sanity"):
        write_parquet(Path(output[name]), tables[name], provenance)
        text = format_table(name, tables[name])
        write_table(text, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
