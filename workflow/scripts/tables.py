from pathlib import Path

import pandas as pd

from vlmscale import readable
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    source, output = snakemake.input, snakemake.output
    laws, intervals, forms, variants = (
        pd.read_parquet(source[name]) for name in ("laws", "intervals", "forms", "variants")
    )
    tables = {
        "laws": readable.laws_for_people(laws, intervals),
        "forms": readable.forms_for_people(forms),
        "variants": readable.variants_for_people(variants),
    }
    if source.get("errors"):  # of a study, which has single benchmarks and questions
        tables["methods"] = readable.methods_for_people(pd.read_parquet(source.errors))
        tables["paired"] = readable.paired_for_people(pd.read_parquet(source.paired))
        tables["suites"] = readable.suites_for_people(pd.read_parquet(source.suites))
    for name, table in tables.items():
        readable.write_readable(table, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
