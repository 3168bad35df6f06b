from pathlib import Path

from vlmscale.analysis.comparisons.difficulty import fit_parts
from vlmscale.analysis.comparisons.fewest_tokens import count_fewest_tokens
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet
from vlmscale.report.difficulty import format_difficulty, format_fewest_tokens
from vlmscale.report.format import write_table
from vlmscale.study.selection import Selection

with log_to(snakemake.log[0]):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    errors, samples = read_parquet(source.errors), read_parquet(source.samples)
    series = {name: Selection(**cells) for name, cells in params.series.items()}
    chosen = {"draws": params.draws, "seed": params.seed}
    parts = fit_parts(errors, samples, series, params.text_tokens, **chosen)
    counted = count_fewest_tokens(errors, samples, series)
    provenance = {"source": read_provenance(Path(source.errors)), "seed": params.seed}
    texts = {"difficulty": format_difficulty(parts), "fewest_tokens": format_fewest_tokens(counted)}
    for name, table in {"difficulty": parts, "fewest_tokens": counted}.items():
        write_parquet(Path(output[name]), table, provenance)
        write_table(texts[name], Path(output[f"{name}_md"]), Path(output[f"{name}_tex"]))
