from pathlib import Path

import pandas as pd

from vlmscale import readable
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    source, output = snakemake.input, snakemake.output
    given = {name: pd.read_parquet(file) for name, file in source.items()}
    makers = {
        "laws": lambda: readable.laws_for_people(given["laws"], given["intervals"]),
        "forms": lambda: readable.forms_for_people(given["forms"]),
        "variants": lambda: readable.variants_for_people(given["variants"]),
        # Of a study alone, which has single benchmarks and questions.
        "methods": lambda: readable.methods_for_people(given["errors"]),
        "paired": lambda: readable.paired_for_people(given["paired"]),
        "suites": lambda: readable.suites_for_people(given["suites"]),
    }
    for name, make in makers.items():
        if name == "methods" and "errors" in given or name in given:
            table = make()
            readable.write_readable(table, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
