"""The paper's grid search: equal to brute force, and to the reference on the released numbers."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.laws.grid_search import (
    APPENDIX,
    RELEASED,
    Ranges,
    enumerate_grid,
    grid_search,
    list_outcomes,
    rank_node,
)
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.errors import UserError

TINY = Ranges((0.4, 0.7, 4), (0.0, 0.2, 5), (0.0, 0.05, 3), (0.0, 0.1, 2))


COLUMNS = ["amplitude", "alpha", "beta", "floor"]


# The node whose curve is drawn in the paper.
DRAWN = (0.557143, 0.0767677, 0.0156566, 1 / 30)


REASONING, OCR = read_scores("reasoning_scores"), read_scores("ocr_scores")


def parameters(fit):
    return tuple(getattr(fit, name) for name in COLUMNS)


def test_sums_of_squares_are_those_of_brute_force():
    n, t, y = (REASONING[c].to_numpy(float) for c in ("n_params_b", "visual_tokens", "error"))
    tried = [
        ((a * n**-alpha * t**-beta + d - y) ** 2).sum() for a, alpha, beta, d in product(*TINY.axes)
    ]
    sse = enumerate_grid(REASONING, TINY)
    assert sse.shape == (4, 5, 3, 2)
    np.testing.assert_allclose(sse.ravel(), tried, rtol=1e-10)
    fit = grid_search(REASONING, TINY)
    assert fit.sse == pytest.approx(min(tried))
    assert parameters(fit) == list(product(*TINY.axes))[int(np.argmin(tried))]


def test_released_grid_on_the_released_scores():
    fit = grid_search(REASONING, RELEASED)
    assert fit.nodes == 5_000_000
    assert parameters(fit) == pytest.approx((0.557143, 0.0747475, 0.0161616, 1 / 30), rel=1e-5)
    assert fit.sse == pytest.approx(3.963e-4, rel=2e-4)
    assert set(fit.edges.values()) == {"interior"}
    optimum = fit_power_law(REASONING).sse
    sse = enumerate_grid(REASONING, RELEASED)
    within = [int((sse <= optimum * (1 + excess)).sum()) for excess in (0.05, 0.1, 0.2, 0.5)]
    assert within == [1, 3, 12, 89]


def test_the_drawn_node_is_second():
    rank, sse = rank_node(REASONING, RELEASED, DRAWN)
    assert rank == 2
    assert sse == pytest.approx(4.060e-4, rel=2e-4)


def test_ocr_ends_on_an_edge_of_the_released_grid():
    fit = grid_search(OCR, RELEASED)
    assert parameters(fit) == pytest.approx((0.6796, 0.0424, 0.05, 0.2333), abs=5e-5)
    assert fit.sse == pytest.approx(7.37e-3, rel=1e-3)
    assert fit.edges == {
        "amplitude": "interior",
        "alpha": "interior",
        "beta": "upper",
        "floor": "interior",
    }
    # The ranges of the text hold the law that those of the code do not.
    other = grid_search(OCR, APPENDIX)
    assert other.sse < fit.sse
    assert (other.edges["beta"], other.edges["floor"]) == ("interior", "lower")


def test_outcomes_of_the_released_search():
    table = list_outcomes(REASONING, RELEASED, share=0.2)
    assert list(table) == [*COLUMNS, "sse", "probability"]
    assert table["sse"].is_monotonic_increasing
    assert table["probability"].iloc[:2].tolist() == pytest.approx([0.2, 0.16], rel=1e-6)
    assert tuple(table[COLUMNS].iloc[1]) == pytest.approx(DRAWN, rel=1e-5)
    assert 0 < 1 - table["probability"].sum() < 1e-6

    def quantiles(values):
        order = values.argsort()
        cumulated = table["probability"].iloc[order].cumsum()
        return values.iloc[order[np.searchsorted(cumulated, (0.05, 0.95))]].tolist()

    assert quantiles(table["alpha"]) == pytest.approx([0.0707, 0.0828], abs=5e-5)
    assert quantiles(table["alpha"] / table["beta"]) == pytest.approx([4.44, 5.07], abs=5e-3)


def test_a_seed_decides_what_is_visited():
    fits = [grid_search(REASONING, RELEASED, share=0.2, seed=seed) for seed in (0, 0, 1, 2)]
    assert fits[0] == fits[1]
    assert len({fit.sse for fit in fits}) > 1
    assert all(fit.nodes == 1_000_000 and fit.sse >= 3.963e-4 for fit in fits)


@pytest.mark.parametrize("node", [(0, 0, 0, 0), (2, 3, 1, 0), (3, 4, 2, 1), (1, 2, 2, 1)])
def test_a_law_on_a_node_is_found_exactly(node):
    truth = tuple(axis[i] for axis, i in zip(TINY.axes, node, strict=True))
    points = plant_law(*truth, counts=(1, 4, 16, 64, 576))
    fit = grid_search(points, TINY)
    assert parameters(fit) == truth
    assert fit.sse < 1e-15
    assert rank_node(points, TINY, truth) == (1, fit.sse)
    last = [nodes - 1 for nodes in TINY.shape]
    assert [fit.edges[name] for name in COLUMNS] == [
        "lower" if i == 0 else "upper" if i == end else "interior"
        for i, end in zip(node, last, strict=True)
    ]


def test_of_equal_nodes_the_first_wins():
    # Without an amplitude the exponents do nothing.
    ranges = Ranges((0.0, 0.0, 2), (0.0, 0.2, 3), (0.0, 0.1, 3), (0.5, 0.5, 1))
    assert parameters(grid_search(REASONING, ranges)) == (0.0, 0.0, 0.0, 0.5)
    assert rank_node(REASONING, ranges, (0.0, 0.2, 0.1, 0.5))[0] == 1


@pytest.mark.slow
def test_outcomes_are_as_frequent_as_stated():
    draws, share = 2000, 0.1
    table = list_outcomes(REASONING, TINY, share=share)
    found = pd.Series(
        [parameters(grid_search(REASONING, TINY, share=share, seed=s)) for s in range(draws)]
    ).value_counts()
    expected = table["probability"].to_numpy() * draws
    counts = np.array([found.get(tuple(row), 0) for row in table[COLUMNS].to_numpy()])
    assert table["probability"].sum() == pytest.approx(1, abs=1e-6)
    assert counts.sum() == draws
    # Five standard deviations, and one draw for outcomes that are hardly ever met.
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected) + 1).all()


def test_the_whole_grid_has_one_outcome():
    table = list_outcomes(REASONING, TINY, share=1.0)
    assert table["probability"].tolist() == [1.0]
    assert tuple(table[COLUMNS].iloc[0]) == parameters(grid_search(REASONING, TINY))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: grid_search(REASONING, TINY, share=0.0, seed=0), "share is 0.0"),
        (lambda: list_outcomes(REASONING, TINY, share=1.5), "share is 1.5"),
        (lambda: enumerate_grid(REASONING.drop(columns="error"), TINY), "'error' is missing"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(UserError, match=words):
        call()
