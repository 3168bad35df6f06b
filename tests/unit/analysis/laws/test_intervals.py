"""Intervals say what a bound makes of them."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law
from vlmscale.analysis.laws.hierarchical import sample_laws
from vlmscale.analysis.laws.intervals import (
    describe_bounds,
    describe_outside,
    find_intervals,
    find_token_ends,
    is_inside,
    summarize_draws,
)
from vlmscale.analysis.laws.power_law import divide_exponents, fit_power_law

DRAWS = 4000


def laws(alpha, beta, floor=0.1, **posterior):
    """Draws of laws; a posterior's have noise."""
    alpha, beta, floor = (np.broadcast_to(part, DRAWS) for part in (alpha, beta, floor))
    ratio = divide_exponents(alpha, beta)
    table = {"alpha": alpha, "beta": beta, "floor": floor, "ratio": ratio, **posterior}
    table |= {"amplitude": 0.5, "center": 1.0, "center_b": 1.0}
    return pd.DataFrame(table)


def normal(mean, deviation, seed=0):
    """Draws of a normal distribution cut off at 0."""
    drawn = np.random.default_rng(seed).normal(mean, deviation, 50 * DRAWS)
    return drawn[drawn > 0][:DRAWS]


@pytest.mark.parametrize("posterior", [{}, {"noise": 0.01}])
def test_away_from_bounds_intervals_are_percentiles(posterior):
    alpha, beta = normal(0.08, 0.01), normal(0.02, 0.002, seed=1)
    found = find_intervals(laws(alpha, beta, **posterior))
    for name, values in {"alpha": alpha, "difference": alpha - beta, "ratio": alpha / beta}.items():
        assert found[name] == pytest.approx(np.quantile(values, [0.025, 0.975]), rel=0.01)


@pytest.mark.parametrize(("mean", "may_be_zero"), [(0.0, True), (1.5, True), (3.0, False)])
def test_an_exponent_that_may_be_zero_has_a_one_sided_interval(mean, may_be_zero):
    """In standard deviations from 0: less than two leave 0 possible."""
    beta = normal(0.01 * mean, 0.01)
    found = find_intervals(laws(normal(0.08, 0.005, seed=1), beta, noise=0.01))
    assert (found["beta"][0] == 0) == may_be_zero
    assert np.isinf(found["ratio"][1]) == may_be_zero
    above = (beta > found["beta"][1]).mean()
    assert above == pytest.approx(0.05 if may_be_zero else 0.025, abs=0.002)
    assert found["alpha"][0] > 0


def test_the_ratio_starts_at_zero_where_alpha_may_be_zero():
    found = find_intervals(laws(normal(0, 0.01), normal(0.05, 0.005, seed=1), noise=0.01))
    assert found["ratio"][0] == 0
    assert np.isfinite(found["ratio"][1])
    both = find_intervals(laws(normal(0, 0.01), normal(0, 0.01, seed=1), noise=0.01))
    assert both["ratio"] == (0, np.inf)


def test_an_interval_contains_that_of_the_draws_without_a_floor():
    """D = 0 in a tenth of the draws: percentiles of all would cut them off."""
    at_zero = np.arange(DRAWS) < DRAWS / 10
    alpha = np.where(at_zero, normal(0.05, 0.002), normal(0.1, 0.01, seed=1))
    drawn = laws(alpha, 0.2 * alpha, np.where(at_zero, 0.0, 0.2), noise=0.01)
    found = find_intervals(drawn)
    low = np.quantile(alpha[at_zero], 0.025)
    assert found["alpha"][0] == pytest.approx(low, rel=0.01)
    assert found["alpha"][0] < np.quantile(alpha, 0.025)
    # too few of them say nothing
    few = find_intervals(drawn.assign(floor=np.where(np.arange(DRAWS) < DRAWS / 50, 0.0, 0.2)))
    assert few["alpha"][0] == pytest.approx(np.quantile(alpha, 0.025), rel=0.01)


def test_refits_at_a_bound_keep_their_percentiles():
    beta = np.where(np.arange(DRAWS) < DRAWS / 2, 0.0, 0.02)
    found = find_intervals(laws(normal(0.08, 0.005), beta))
    assert found["beta"] == (0, 0.02)
    assert found["ratio"][1] == np.inf


def test_the_best_tokens_have_the_interval_of_the_ratio():
    drawn = laws(normal(0.08, 0.01), normal(0.02, 0.002, seed=1), noise=0.01)
    found = summarize_draws(drawn, [0, 50], 576).set_index("quantity")
    low, high = found.loc["ratio", ["low", "high"]]
    assert found.loc["tokens_at_50", "low"] == pytest.approx(50 / (high - 1))
    assert found.loc["tokens_at_50", "high"] == pytest.approx(50 / (low - 1))
    assert find_token_ends((0.5, np.inf), 50, 576) == (1, 576)


def test_bounds_in_words():
    at_zero = np.arange(DRAWS) < 0.7 * DRAWS
    drawn = laws(
        normal(0.03, 0.004), normal(0, 0.05, seed=1), np.where(at_zero, 0, 0.1), noise=0.01
    )
    notes = describe_bounds(summarize_draws(drawn, [50], 576))
    assert notes[:3] == [
        "D = 0 in 70% of draws; its prior is one half.",
        "beta may be 0: its interval is one-sided.",
        "alpha / beta has no upper end, as beta may be 0.",
    ]
    assert notes[3].endswith("It has two modes.")
    clear = laws(normal(0.08, 0.005), normal(0.02, 0.001, seed=1), noise=0.01)
    assert describe_bounds(summarize_draws(clear, [50], 576)) == [
        "D = 0 in 0% of draws; its prior is one half."
    ]


@pytest.mark.parametrize(
    ("value", "low", "high", "inside"),
    [
        *((0.1, 0.0, 0.2, True), (0.1, 0.1, 0.2, True), (0.1 + 1e-12, 0.0, 0.1, True)),
        *((0.1, 0.11, 0.2, False), (0.3, 0.0, 0.2, False), (np.inf, 1.0, np.inf, True)),
        *((np.inf, 1.0, 9.0, False), (0.1, np.nan, np.nan, True), (np.nan, 0.0, 1.0, True)),
    ],
)
def test_estimates_inside_their_intervals(value, low, high, inside):
    assert is_inside(value, low, high) is inside


def test_an_estimate_outside_is_said():
    """Least squares with a large D, which half of the prior on D = 0 makes unlikely."""
    points = plant_law(0.6, 0.08, 0.02, 0.0)
    rng = np.random.default_rng(13)
    own = dict(zip(points["n_params_b"].unique(), rng.normal(0, 0.004, 4), strict=True))
    noise = rng.normal(0, 0.004, len(points))
    points["error"] += points["n_params_b"].map(own) + noise
    law = fit_power_law(points)
    found = summarize_draws(sample_laws(points, draws=1000, seed=0), [50], 576)
    values = {name: getattr(law, name) for name in ("alpha", "beta", "ratio", "floor")}
    words = describe_outside(values, found)
    assert words == "least squares lies outside the interval of alpha, beta, floor"
    assert describe_outside({"ratio": law.ratio}, found) == ""
