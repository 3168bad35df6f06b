from pathlib import Path

import pandas as pd

from vlmscale.analysis.published import select_paper_decoders, tabulate_published_errors
from vlmscale.costs.shapes import load_architectures
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import write_parquet

with log_to(snakemake.log[0]):
    families = ("reasoning", "ocr")
    scores = {family: pd.read_csv(snakemake.input[family]) for family in families}
    decoders = select_paper_decoders(load_architectures(Path(snakemake.input.architectures)))
    provenance = {
        "source": "arXiv 2411.03312, released scores; see src/vlmscale/resources/published/README.md"
    }
    write_parquet(
        Path(snakemake.output[0]), tabulate_published_errors(scores, decoders), provenance
    )
