from pathlib import Path

from vlmscale.analysis.published import load_published_errors
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import write_parquet

with log_to(snakemake.log[0]):
    errors = load_published_errors(Path(snakemake.input.architectures).parent)
    provenance = {
        "source": "arXiv 2411.03312, released scores; see src/vlmscale/resources/published/README.md"
    }
    write_parquet(Path(snakemake.output[0]), errors, provenance)
