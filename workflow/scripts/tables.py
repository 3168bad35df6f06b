from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import log_to
from vlmscale.report import tables as report
from vlmscale.report.format import write_table

with log_to(snakemake.log[0]):
    source, output = snakemake.input, snakemake.output
    given = {name: pd.read_parquet(file) for name, file in source.items()}
    tables = {}
    if "laws" in given:
        tables["laws"] = report.format_laws(given["laws"], given["intervals"])
        tables["forms"] = report.format_forms(given["forms"])
        tables["variants"] = report.format_variants(given["variants"])
    if "errors" in given:  # of a study, which has single benchmarks and questions
        tables["methods"] = report.format_methods(given["errors"], given["chance"])
        tables["paired"] = report.format_paired(given["paired"])
    if "suites" in given:
        tables["suites"] = report.format_suites(given["suites"])
    for name, table in tables.items():
        write_table(table, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
