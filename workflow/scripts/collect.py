from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import collect, read_answers
from vlmscale.jobs.entry import log_to
from vlmscale.records.files import read_json
from vlmscale.records.parquet import write_parquet

with log_to(snakemake.log[0]):
    files, params = snakemake.input, snakemake.params
    cells = pd.DataFrame(params.cells)
    answers = [
        read_answers(Path(scores), Path(samples))
        for scores, samples in zip(files.scores, files.samples, strict=True)
    ]
    runs = [read_json(Path(file)) for stage in ("stage1", "stage2") for file in files.get(stage)]
    prints, sizes = params.fingerprints, {"nominal": params.nominal, "axis": params.size_axis}
    tables = collect(cells, answers, runs, fingerprints=prints, **sizes)
    provenance = {"study": params.study, "methods": params.methods, "tower": params.tower}
    provenance["fingerprints"] = prints["evaluate_cell"]
    for name, table in tables.items():
        write_parquet(Path(snakemake.output[name]), table, provenance)
