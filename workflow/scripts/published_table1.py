from pathlib import Path

import pandas as pd

from vlmscale.analysis.comparisons.table1 import measure_gaps
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import write_parquet
from vlmscale.report.format import write_table
from vlmscale.report.tables import format_table1

with log_to(snakemake.log[0]):
    output, method = snakemake.output, snakemake.params.method
    scores = pd.read_csv(snakemake.input[0])
    provenance = {
        "source": "arXiv 2411.03312, Table 1; see src/vlmscale/resources/published/README.md"
    }
    write_parquet(Path(output.parquet), measure_gaps(scores, method=method), provenance)
    write_table(format_table1(scores, method), Path(output.md), Path(output.tex))
