from pathlib import Path

import pandas as pd

from vlmscale.analysis.table1 import gap_closed
from vlmscale.jobs import logged
from vlmscale.readable import table1_for_people, write_readable
from vlmscale.tables import write_parquet

with logged(snakemake.log[0]):
    output, method = snakemake.output, snakemake.params.method
    scores = pd.read_csv(snakemake.input[0])
    provenance = {"source": "arXiv 2411.03312, Table 1; see resources/published/README.md"}
    write_parquet(Path(output.parquet), gap_closed(scores, method=method), provenance)
    write_readable(table1_for_people(scores, method), Path(output.md), Path(output.tex))
