"""vlmscale audit."""

import pandas as pd
import pytest

from tests.support.cli import call, call_json, error_of


@pytest.mark.slow
def test_shows_all_claims_or_one(monkeypatch):
    report = call_json("audit")
    table = pd.DataFrame(report["claims"])  # seconds to find; what follows only shows it
    monkeypatch.setattr("vlmscale.cli.audit.load_evidence", lambda resources, studies: None)
    monkeypatch.setattr("vlmscale.cli.audit.check_claims", lambda evidence: table)
    assert sum(report["verdicts"].values()) == len(report["claims"])
    claim = report["claims"][0]
    one = call("audit", "--claim", claim["id"].lower())
    assert claim["claim"] in one
    assert claim["verdict"] in one
    assert "Claims of the paper" in call("audit")
    assert "no claim 'none'" in error_of("audit", "--claim", "none")
