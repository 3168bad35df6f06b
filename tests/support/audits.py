"""The audit of a few claims."""

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import pandas as pd

from tests.support.paths import RESOURCES
from vlmscale.analysis.checks.audit.evidence import load_evidence
from vlmscale.analysis.checks.audit.run import audit


def audit_claims(claims: Container[str], *folders: Path) -> pd.DataFrame:
    """Audit these claims alone, indexed by id, with the studies in `folders`."""
    evidence = load_evidence(RESOURCES, folders)
    few = evidence.claims[[claim in claims for claim in evidence.claims["id"]]]
    return audit(replace(evidence, claims=few)).set_index("id")
