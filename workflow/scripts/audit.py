from pathlib import Path

from vlmscale.analysis.checks.audit.evidence import load_evidence
from vlmscale.analysis.checks.audit.run import audit
from vlmscale.jobs.entry import log_to
from vlmscale.records.parquet import write_parquet
from vlmscale.records.texts import write_markdown
from vlmscale.report.audit import format_audit
from vlmscale.resources import find_resource

with log_to(snakemake.log[0]):
    studies = [Path(file).parent for file in snakemake.input.get("errors", [])]
    table = audit(load_evidence(find_resource("."), studies))
    provenance = {"source": "resources/published", "studies": [folder.name for folder in studies]}
    write_parquet(Path(snakemake.output.table), table, provenance)
    write_markdown(Path(snakemake.output.text), format_audit(table))
