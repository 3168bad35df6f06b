"""The fitter: exact on planted laws, equal to the reference on the released numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmscale.analysis.frontier import optimal_tokens, pareto
from vlmscale.analysis.laws import fit_power_law, linear_part
from vlmscale.errors import UserError

PUBLISHED = Path(__file__).parents[2] / "resources" / "published"
N, T = (0.5, 1.8, 4.0, 7.0), (1, 4, 16, 36, 64, 144, 576)


def released(family, drop=lambda table: table):
    table = drop(pd.read_csv(PUBLISHED / f"{family}_scores.csv"))
    return table.assign(error=1 - table["score"])


def design(amplitude, alpha, beta, floor):
    grid = pd.MultiIndex.from_product([N, T], names=["n_params_b", "visual_tokens"]).to_frame()
    error = amplitude * grid["n_params_b"] ** -alpha * grid["visual_tokens"] ** -beta + floor
    return grid.assign(error=error).reset_index(drop=True)


# Least-squares optima of the released scores, found independently of this code.
@pytest.mark.parametrize(
    ("points", "amplitude", "alpha", "beta", "sse"),
    [
        (released("reasoning"), 0.5908, 0.07094, 0.01510, 3.794e-4),
        (released("ocr"), 0.9172, 0.02823, 0.03941, 5.137e-3),
        (released("ocr", lambda t: t[t.visual_tokens >= 4]), 0.9402, 0.03047, 0.04472, 2.575e-3),
        (released("ocr", lambda t: t.iloc[:-1]), 0.9151, 0.02709, 0.03862, 4.585e-3),
    ],
)
def test_released_scores(points, amplitude, alpha, beta, sse):
    law = fit_power_law(points)
    assert law.floor == 0.0
    assert law.floor_bound == "lower"
    assert law.exponent_bounds == ("interior", "interior")
    assert law.converged
    found = (law.amplitude, law.alpha, law.beta, law.sse)
    # the references are printed with four digits
    assert found == pytest.approx((amplitude, alpha, beta, sse), rel=3e-4)


@pytest.mark.parametrize(
    ("floor", "alpha", "beta", "sse"),
    [
        (1 / 30, 0.07559, 0.01609, 3.907e-4),
        (0.1, 0.08699, 0.01852, 4.208e-4),
        (0.3, 0.1588, 0.03356, 6.904e-4),
    ],
)
def test_profile_of_the_floor(floor, alpha, beta, sse):
    law = fit_power_law(released("reasoning"), floor=floor)
    assert (law.alpha, law.beta, law.sse) == pytest.approx((alpha, beta, sse), rel=3e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.3, 0.5),
    st.floats(0.02, 0.4),
    st.floats(0.01, 0.3),
    st.floats(0.0, 0.2),
)
def test_a_planted_law_is_recovered(amplitude, alpha, beta, floor):
    law = fit_power_law(design(amplitude, alpha, beta, floor))
    assert law.sse < 1e-14
    assert law.converged
    assert law.alpha == pytest.approx(alpha, abs=1e-3)
    assert law.beta == pytest.approx(beta, abs=1e-3)
    assert law.floor == pytest.approx(floor, abs=5e-3)


def test_the_linear_part_is_the_best_of_the_box():
    """Against a fine enumeration of the box, also where the free solution lies outside it."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.uniform(0.2, 1, 12), rng.uniform(0.1, 0.9, 12)
        box = np.zeros((1, 1)), np.full((1, 1), y.min())
        a, d, sse = (v.item() for v in linear_part(x[None], y[None], np.ones((1, 12)), *box))
        assert 0 <= a <= 10
        assert 0 <= d <= y.min()
        grid_a, grid_d = np.meshgrid(np.linspace(0, 2, 201), np.linspace(0, y.min(), 101))
        tried = ((grid_a[..., None] * x + grid_d[..., None] - y) ** 2).sum(-1)
        assert sse <= tried.min() + 1e-12


def test_row_order_and_unit_of_n_do_not_matter():
    points = released("reasoning")
    law = fit_power_law(points)
    shuffled = fit_power_law(points.sample(frac=1, random_state=1))
    scaled = fit_power_law(points.assign(n_params_b=points["n_params_b"] * 1000))
    for other in (shuffled, scaled):
        assert (other.alpha, other.beta) == pytest.approx((law.alpha, law.beta), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="error"), "column 'error' is missing"),
        (lambda t: t.assign(error=t["error"] * 100), r"errors must lie in \[0, 1\]"),
        (lambda t: t.assign(error=np.nan), "column 'error' has missing values"),
        (lambda t: t.assign(n_params_b=0.0), "n_params_b.*must be positive"),
        (lambda t: t[t.n_params_b == 7], "all rows have the same n_params_b"),
        (lambda t: t.iloc[[0, 8, 16]], "3 rows are too few"),
    ],
)
def test_points_that_cannot_be_fitted(change, words):
    with pytest.raises(UserError, match=words):
        fit_power_law(change(released("reasoning")))


def test_optimal_tokens():
    law = fit_power_law(released("reasoning"))
    assert optimal_tokens(law.ratio, 0, low=1, high=576) == 1
    assert optimal_tokens(law.ratio, 50, low=1, high=576) == pytest.approx(13.52, abs=0.01)
    assert optimal_tokens(law.ratio, 10_000, low=1, high=576) == 576
    ocr = fit_power_law(released("ocr"))
    assert optimal_tokens(ocr.ratio, 50, low=1, high=576) == 576


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=20))
def test_pareto_set_is_undominated_and_complete(points):
    cost, error = map(np.array, zip(*points, strict=True))
    front = set(pareto(cost, error).tolist())
    for i, (c, e) in enumerate(points):
        better = [(a <= c and b <= e) and (a < c or b < e) for a, b in points]
        if i in front:
            assert not any(better)
        else:
            same = any((cost[j], error[j]) == (c, e) for j in front)
            assert any(better) or same


def test_released_pareto_set_without_text():
    points = released("reasoning")
    cost = points["n_params_b"] * points["visual_tokens"]
    front = points.iloc[pareto(cost, points["error"])]
    found = list(zip(front["n_params_b"], front["visual_tokens"], strict=True))
    large = [(7.0, v) for v in (1, 4, 16, 36, 64, 144, 576)]
    assert found == [(0.5, 1), (1.8, 1), (4.0, 1), *large]
