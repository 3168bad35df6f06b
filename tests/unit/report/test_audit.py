"""The page of the audit."""

import re

import numpy as np
import pandas as pd

from vlmscale.report.audit import format_audit

CLAIM = {
    **{"id": "C01", "section": "3.3", "claim": "The exponent", "paper_value": "0.077"},
    **{"quantity": "alpha", "paper_low": 0.0765, "paper_high": 0.0775},
    **{"value": 0.07094, "low": 0.06, "high": 0.08, "interval_over": "LLM sizes"},
    **{"verdict": "within interval", "how": "Least squares.", "retrained": "Study x: 0.077."},
}
MISSING = {"value": np.nan, "low": np.nan, "high": np.nan, "interval_over": "", "retrained": ""}


def format_claims(*changes):
    return format_audit(pd.DataFrame([{**CLAIM, **change} for change in changes]))


def test_a_decided_claim_has_its_number_interval_and_verdict():
    page = format_claims({})
    assert "1 claims of arXiv 2411.03312 v1" in page
    assert "0 reproduced, 1 within interval, 0 not reproduced, 0 needs training." in page
    cells = ("C01", "The exponent", "3.3", "0.077", "0.07094", "0.06 to 0.08 (LLM sizes)")
    assert [*cells, "within interval"] in [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()
    ]
    assert page.endswith(
        """
## C01: The exponent

- Checked: alpha; the wording allows 0.0765 to 0.0775.
- Ours: 0.07094, 95 % interval 0.06 to 0.08 (LLM sizes).
- Verdict: **within interval**. Least squares.
- Trained again: Study x: 0.077.
"""
    )


def test_what_is_missing_is_not_on_the_page():
    page = format_claims({**MISSING, "quantity": "", "verdict": "needs training", "how": "Train."})
    assert page.endswith("## C01: The exponent\n\n- Verdict: **needs training**. Train.\n")
    assert not re.search(r"\b(nan|None|inf)\b", page)


def test_ranges_are_written_in_words():
    bounds = [(1, 1), (5, np.inf), (-np.inf, 0)]
    page = format_claims(*({"paper_low": low, "paper_high": high} for low, high in bounds))
    for words in ("1 alone", "5 and more", "0 and less"):
        assert f"the wording allows {words}." in page
