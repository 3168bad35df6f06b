from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import logged
from vlmscale.report import tables as readable

with logged(snakemake.log[0]):
    source, output = snakemake.input, snakemake.output
    given = {name: pd.read_parquet(file) for name, file in source.items()}
    tables = {}
    if "laws" in given:
        tables["laws"] = readable.laws_for_people(given["laws"], given["intervals"])
        tables["forms"] = readable.forms_for_people(given["forms"])
        tables["variants"] = readable.variants_for_people(given["variants"])
    if "errors" in given:  # of a study, which has single benchmarks and questions
        tables["methods"] = readable.methods_for_people(given["errors"], given["chance"])
        tables["paired"] = readable.paired_for_people(given["paired"])
    if "suites" in given:
        tables["suites"] = readable.suites_for_people(given["suites"])
    for name, table in tables.items():
        readable.write_readable(table, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
