"""V*, its flat range and crossovers: the closed forms against numerical minimisation and references."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.laws import read_scores
from vlmscale.analysis.laws.forms import FORMS
from vlmscale.analysis.laws.optimum import (
    crossover,
    flat_range,
    least_text_tokens,
    optimal_tokens,
    optimal_tokens_under,
)
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import fit_power_law

REASONING = fit_power_law(read_scores("reasoning_scores"))


OCR = fit_power_law(read_scores("ocr_scores"))


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (REASONING.ratio, (1, 2.705, 5.409, 13.52, 27.05, 54.09)),
        (0.0767677 / 0.0156566, (1, 2.562, 5.124, 12.81, 25.62, 51.24)),
        (0.077 / 0.015, (1, 2.419, 4.839, 12.10, 24.19, 48.39)),
    ],
)
def test_released_optima(ratio, expected):
    found = optimal_tokens(ratio, [0, 10, 20, 50, 100, 200], low=1, high=576)
    assert found.tolist() == pytest.approx(expected, rel=5e-4)
    assert optimal_tokens(ratio, 10_000, low=1, high=576) == 576


def test_more_tokens_where_they_weigh_more():
    assert optimal_tokens(OCR.ratio, [0, 50], low=1, high=576).tolist() == [576, 576]
    assert crossover(4, 7, OCR.ratio, 50) is None
    assert least_text_tokens(4, 7, OCR.ratio) == np.inf


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.01, 0.5),
    st.floats(0.005, 0.5),
    st.floats(0, 0.3),
    st.floats(0, 500),
    st.floats(100, 1e5),
)
def test_the_optimum_is_that_of_the_numeric_problem(alpha, beta, floor, text_tokens, gflops):
    assume(alpha != beta or text_tokens > 0)  # else every count is as good

    def predict(n, t):
        return 0.5 * n**-alpha * t**-beta + floor

    closed = optimal_tokens(alpha / beta, text_tokens, low=1, high=576).item()
    numeric = optimal_tokens_under(predict, text_tokens, gflops, low=1, high=576)

    def reached(t):
        return predict(gflops / (2 * (text_tokens + t)), t)

    # near a flat optimum the place is soft; the error reached is not
    assert reached(closed) <= reached(numeric) * (1 + 1e-9)
    if abs(alpha - beta) > 0.02:
        assert numeric == pytest.approx(closed, rel=1e-2)


# V* at Q = 50 for budgets of 500, 2000, 8000, 30000 GFLOPs: it depends on them for these forms alone.
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("additive", (15.2, 18.0, 21.4, 25.5)),
        ("product, interaction", (15.3, 18.4, 21.8, 25.3)),
        ("product", (13.52,) * 4),
        ("log-linear", (13.46,) * 4),
        ("logit-linear", (13.46,) * 4),
    ],
)
def test_other_forms(form, expected):
    (chosen,) = [f for f in FORMS if f.name == form]
    parameters = chosen.fit(*take_logs(read_scores("reasoning_scores")))

    def predict(n, t):
        return chosen.predict(parameters, np.log(n), np.log(t))

    found = [
        optimal_tokens_under(predict, 50, gflops, low=1, high=576)
        for gflops in (500, 2000, 8000, 30000)
    ]
    assert found == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(
    ("tolerance", "low", "high"), [(1e-3, 8.82, 20.08), (5e-3, 4.90, 31.7), (1e-2, 2.98, 43.9)]
)
def test_released_flat_ranges(tolerance, low, high):
    found = flat_range(REASONING.alpha, REASONING.beta, 50, tolerance, low=1, high=576)
    assert found == pytest.approx((low, high), rel=2e-3)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 0.5), st.floats(0.005, 0.5), st.floats(0, 300), st.floats(1e-4, 0.2))
def test_a_flat_range_holds_what_it_says(alpha, beta, text_tokens, tolerance):
    low, high = flat_range(alpha, beta, text_tokens, tolerance, low=1, high=576)
    best = optimal_tokens(alpha / beta, text_tokens, low=1, high=576).item()

    def excess(t):
        def cost(x):
            return (text_tokens + x) ** alpha * x**-beta

        return cost(t) / cost(best) - 1

    assert low <= best * (1 + 1e-9)
    assert best <= high * (1 + 1e-9)
    for end, outside, limit in ((low, low * 0.99, 1), (high, high * 1.01, 576)):
        assert excess(end) <= tolerance * (1 + 1e-6) + 1e-12
        if end != pytest.approx(limit):
            assert excess(outside) > tolerance


@pytest.mark.parametrize(
    ("small", "large", "text_tokens", "expected", "least"),
    [
        (4, 7, 50, (42.92, 3.10, 743.4), 16.14),
        (4, 7, 100, (85.84, 6.20, 1487), 16.14),
        (1.8, 4, 100, (129.0, 3.03, 824.2), 33.00),
    ],
)
def test_released_crossovers(small, large, text_tokens, expected, least):
    at = crossover(small, large, REASONING.ratio, text_tokens)
    assert (at.small_tokens, at.large_tokens, at.gflops) == pytest.approx(expected, rel=2e-3)
    assert least_text_tokens(small, large, REASONING.ratio) == pytest.approx(least, rel=1e-3)
    both = REASONING.predict(np.array([small, large]), np.array([at.small_tokens, at.large_tokens]))
    assert both[0] == pytest.approx(both[1], rel=1e-9)


def test_a_ratio_too_large_for_a_number():
    """No tokens are worth anything then: the crossover never comes."""
    assert least_text_tokens(4, 7, 5000.0) == np.inf
    assert crossover(4, 7, 5000.0, 50).large_tokens == 0


def test_other_least_text_lengths():
    assert least_text_tokens(7, 14, REASONING.ratio) == pytest.approx(23.94, rel=1e-3)
    assert least_text_tokens(0.5, 1.8, REASONING.ratio) == pytest.approx(156.4, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 10), st.floats(1.05, 4), st.floats(1.05, 6), st.floats(1, 400))
def test_below_a_crossover_the_smaller_size_is_better(small, factor, ratio, text_tokens):
    large = small * factor
    at = crossover(small, large, ratio, text_tokens)
    assume(at.large_tokens > 1e-3)

    def error(n, gflops):
        return n**-ratio * (gflops / (2 * n) - text_tokens) ** -1.0

    below, above = at.gflops * (1 - 1e-3), at.gflops * (1 + 1e-3)
    assume(below / (2 * large) > text_tokens)
    assert error(small, below) < error(large, below)
    assert error(small, above) > error(large, above)


def test_without_text_and_with_equal_exponents_every_count_is_as_good():
    assert np.isnan(optimal_tokens(1.0, 0, low=1, high=576))
    assert flat_range(0.1, 0.1, 0, 0.01, low=1, high=576) == (1, 576)
    found = optimal_tokens([0.99, 1.0, 1.0, 1.01], [0, 0, 1, 0], low=1, high=576)
    np.testing.assert_array_equal(found, [576, np.nan, 576, 1])
