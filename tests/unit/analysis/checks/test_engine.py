"""The rule of the audit; the other rules are tested where hypotheses use them."""

from hypothesis import given
from hypothesis import strategies as st

from vlmscale.analysis.checks.engine import Finding, Verdict, judge


@given(st.floats(-5, 5), st.floats(0, 2), st.floats(0, 2), st.floats(-3, 3), st.floats(0, 2))
def test_the_verdict_follows_from_number_interval_and_range(value, below, above, paper_low, width):
    low, high, paper_high = value - below, value + above, paper_low + width
    found = judge(Finding(value, low, high), paper_low, paper_high).on_paper
    inside = paper_low <= value <= paper_high
    overlap = max(low, paper_low) <= min(high, paper_high)
    assert found == ("reproduced" if inside else "within interval" if overlap else "not reproduced")
    assert judge(Finding(value), paper_low, paper_high) in (Verdict.HOLDS, Verdict.FAILS)
    assert judge(Finding(), paper_low, paper_high) is Verdict.UNTESTED
