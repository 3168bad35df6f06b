from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import (
    chance_levels,
    check_fingerprints,
    errors_table,
    samples_table,
    trainings_table,
)
from vlmscale.jobs import logged
from vlmscale.provenance import read_json
from vlmscale.tables import read_provenance, write_parquet

with logged(snakemake.log[0]):
    cells, output = pd.read_csv(snakemake.input.cells), snakemake.output
    trainings = []
    for stage in ("stage1", "stage2"):
        made = [read_json(Path(file)) for file in snakemake.input.get(stage)]
        trainings += made
        records = {record["run"]: record for record in made}
        found = {run: record["fingerprint"] for run, record in records.items()}
        check_fingerprints(found, snakemake.params.trained[stage], rule=f"train_{stage}")
    made = {r["cell"]["cell"]: r for r in map(read_provenance, snakemake.input.scores)}
    found = {cell: r["fingerprint"] for cell, r in made.items()}
    check_fingerprints(found, snakemake.params.evaluated, rule="evaluate_cell")
    scores = dict(zip(made, map(pd.read_parquet, snakemake.input.scores), strict=True))
    samples = dict(zip(made, map(pd.read_parquet, snakemake.input.samples), strict=True))
    by_llm = {llm: records[run] for llm, run in cells[["llm", "run"]].values}
    sizes = {
        "nominal": snakemake.params.nominal,
        "total": {llm: record["llm_parameters"] / 1e9 for llm, record in by_llm.items()},
        "non_embedding": {
            llm: record["llm_parameters_non_embedding"] / 1e9 for llm, record in by_llm.items()
        },
    }
    errors = errors_table(
        cells,
        scores,
        {axis: known for axis, known in sizes.items() if known},
        axis=snakemake.params.size_axis,
        protocols={cell: record["protocol"] for cell, record in made.items()},
    )
    provenance = {
        "study": cells["study"][0],
        "fingerprints": snakemake.params.evaluated,
        "methods": snakemake.params.methods,
    }
    write_parquet(Path(output.errors), errors, provenance)
    write_parquet(Path(output.samples), samples_table(samples, scores), provenance)
    first = next(iter(samples))
    write_parquet(Path(output.chance), chance_levels(samples[first], scores[first]), provenance)
    write_parquet(Path(output.trainings), trainings_table(trainings), provenance)
