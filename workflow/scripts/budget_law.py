from pathlib import Path

from vlmscale.analysis.decisions.lifetime import Sampled
from vlmscale.analysis.study import fit_budgets
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet
from vlmscale.report.budget_law import FORMATS
from vlmscale.report.format import write_table
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    params, output = snakemake.params, snakemake.output
    errors, sampled = Path(snakemake.input[0]), Sampled(**params.sampled)
    series = {name: Selection(**cells) for name, cells in params.series.items()}
    chosen = {"draws": params.draws, "seed": params.seed}
    tables = fit_budgets(read_parquet(errors), series, sampled, params.text_tokens, **chosen)
    provenance = {"source": read_provenance(errors), "seed": params.seed, "sampled": params.sampled}
    for name, table in tables.items():
        write_parquet(Path(output[name]), table, provenance)
        text = FORMATS[name](table)
        write_table(text, Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
