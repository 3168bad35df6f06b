from pathlib import Path

from vlmscale.analysis.comparisons.one_token import compare_published, compare_study
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import read_parquet, read_provenance, write_parquet
from vlmscale.report.format import write_table
from vlmscale.report.one_token import format_one_token

with log_to(snakemake.log[0]):
    source, params, output = snakemake.input, snakemake.params, snakemake.output
    text = {"text_tokens": params.text_tokens}
    if source.get("errors"):  # of a study
        errors, decoders = read_parquet(source.errors), params.decoders
        decoders = {name: Decoder(**shape) for name, shape in decoders.items()}
        table = compare_study(errors, decoders, Tower(**params.tower), params.methods, **text)
        origin = read_provenance(Path(source.errors))
    else:
        table = compare_published(**text)
        origin = "src/vlmscale/resources/published/one_token.csv"
    write_parquet(Path(output.parquet), table, {"source": origin, **text})
    write_table(format_one_token(table), Path(output.md), Path(output.tex))
