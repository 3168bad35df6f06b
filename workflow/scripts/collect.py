from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import chance_levels, check_fingerprints, errors_table
from vlmscale.jobs import logged
from vlmscale.provenance import read_json
from vlmscale.tables import read_provenance, write_parquet

with logged(snakemake.log[0]):
    cells = pd.read_csv(snakemake.input.cells)
    records = {r["run"]: r for r in (read_json(Path(f)) for f in snakemake.input.stage2)}
    for stage in ("stage1", "stage2"):
        made = [read_json(Path(file)) for file in snakemake.input.get(stage)]
        found = {r["run"]: r["fingerprint"] for r in made}
        check_fingerprints(found, snakemake.params.trained, rule=f"train_{stage}")
    made = {r["cell"]["cell"]: r for r in map(read_provenance, snakemake.input.scores)}
    found = {cell: r["fingerprint"] for cell, r in made.items()}
    check_fingerprints(found, snakemake.params.evaluated, rule="evaluate_cell")
    scores = dict(zip(made, map(pd.read_parquet, snakemake.input.scores), strict=True))
    parameters = {llm: records[run]["llm_parameters"] for llm, run in cells[["llm", "run"]].values}
    provenance = {"study": cells["study"][0], "fingerprints": snakemake.params.evaluated}
    write_parquet(
        Path(snakemake.output.errors), errors_table(cells, scores, parameters), provenance
    )
    chance = chance_levels(pd.read_parquet(snakemake.input.samples[0]))
    write_parquet(Path(snakemake.output.chance), chance, provenance)
