"""Estimates decide as their intervals do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmscale.analysis.checks.hypotheses.estimates import estimate_from_draws, estimate_from_units

pytestmark = pytest.mark.slow


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=50, max_size=300), st.floats(-1, 1))
def test_draws_decide_as_their_interval_does(draws, bound):
    found = estimate_from_draws(0.0, np.array(draws), above=bound)
    assert 2 / (len(draws) + 1) <= min(found.p_for, found.p_against) <= 1
    if found.p_for <= 0.05:
        assert found.low >= bound
    if found.p_against <= 0.05:
        assert found.high <= bound


@given(
    st.floats(-0.2, 0.2), st.floats(1e-6, 0.01), st.integers(2, 30), st.sampled_from([0.0, 0.02])
)
def test_units_decide_as_their_interval_does(value, variance, units, margin):
    found = estimate_from_units(value, variance, units, margin=margin)
    inside = found.low > -margin and found.high < margin
    outside = found.low > margin or found.high < -margin
    if margin:
        assert (found.p_for < 0.05, found.p_against < 0.05) == (inside, outside)
    else:
        assert (found.p_for < 0.05, found.p_against < 0.05) == (found.low > 0, found.high < 0)
