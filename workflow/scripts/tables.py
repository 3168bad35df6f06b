from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet
from vlmscale.report import tables as report
from vlmscale.report.format import write_table

with log_to(snakemake.log[0]):
    source, output = snakemake.input, snakemake.output
    given = {name: read_parquet(file) for name, file in source.items()}
    plain = [name for name in ("forms", "variants", "paired", "suites") if name in given]
    tables = {name: report.format_table(name, given[name]) for name in plain}
    if "laws" in given:
        tables["laws"] = report.format_laws(given["laws"], given["intervals"])
    if "errors" in given:  # of a study, which has single benchmarks
        tables["methods"] = report.format_methods(given["errors"], given["chance"])
    for name, table in tables.items():
        write_table(table, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
