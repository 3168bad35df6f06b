from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import (
    chance_levels,
    check_fingerprints,
    errors_table,
    samples_table,
)
from vlmscale.jobs import logged
from vlmscale.provenance import read_json
from vlmscale.tables import read_provenance, write_parquet

with logged(snakemake.log[0]):
    cells, output = pd.read_csv(snakemake.input.cells), snakemake.output
    for stage in ("stage1", "stage2"):
        made = [read_json(Path(file)) for file in snakemake.input.get(stage)]
        records = {record["run"]: record for record in made}
        found = {run: record["fingerprint"] for run, record in records.items()}
        check_fingerprints(found, snakemake.params.trained[stage], rule=f"train_{stage}")
    made = {r["cell"]["cell"]: r for r in map(read_provenance, snakemake.input.scores)}
    found = {cell: r["fingerprint"] for cell, r in made.items()}
    check_fingerprints(found, snakemake.params.evaluated, rule="evaluate_cell")
    scores = dict(zip(made, map(pd.read_parquet, snakemake.input.scores), strict=True))
    samples = dict(zip(made, map(pd.read_parquet, snakemake.input.samples), strict=True))
    by_llm = {llm: records[run] for llm, run in cells[["llm", "run"]].values}
    total, non_embedding = (
        {llm: record[key] for llm, record in by_llm.items()}
        for key in ("llm_parameters", "llm_parameters_non_embedding")
    )
    provenance = {"study": cells["study"][0], "fingerprints": snakemake.params.evaluated}
    errors = errors_table(cells, scores, total, non_embedding)
    write_parquet(Path(output.errors), errors, provenance)
    write_parquet(Path(output.samples), samples_table(samples, scores), provenance)
    first = next(iter(samples))
    write_parquet(Path(output.chance), chance_levels(samples[first], scores[first]), provenance)
