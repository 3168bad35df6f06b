from pathlib import Path

import pandas as pd

from vlmscale.analysis.checks.hypotheses.decide import decide_hypotheses
from vlmscale.analysis.checks.hypotheses.results import Results
from vlmscale.analysis.checks.learning import check_learning, summarize_losses
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_provenance, write_parquet
from vlmscale.report.format import write_table
from vlmscale.report.tables import format_sanity, format_verdicts
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    names = ("errors", "samples", "paired", "laws", "draws", "forms")
    given = {name: pd.read_parquet(file) for name, file in source.items()}
    results = Results(**{name: given[name] for name in names if name in given})
    series = {name: Selection(**cells) for name, cells in params.series.items()}
    found = decide_hypotheses(
        results, series, params.text_tokens, draws=params.draws, seed=params.seed
    )
    # The first law stands for the study: what it is fitted on is what learning is checked on. Without
    # one it is what the others are compared with.
    methods = next(iter(series.values())).methods if series else (params.baseline,)
    losses = summarize_losses(given["trainings"])
    checked = check_learning(results.errors, given["chance"], losses, methods)
    provenance = {"source": read_provenance(Path(source.errors)), "seed": params.seed}
    for name, table, text in (
        ("verdicts", found, format_verdicts(found)),
        ("sanity", checked, format_sanity(checked)),
    ):
        write_parquet(Path(output[name]), table, provenance)
        write_table(text, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
