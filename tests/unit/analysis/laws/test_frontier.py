"""Pareto fronts of points and of laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.laws import read_scores
from vlmscale.analysis.laws.frontier import pareto_envelope, pareto_front
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.costs.nominal import prefill_gflops

REASONING = read_scores("reasoning_scores")


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=20))
def test_pareto_set_is_undominated_and_complete(points):
    cost, error = map(np.array, zip(*points, strict=True))
    front = set(pareto_front(cost, error).tolist())
    for i, (c, e) in enumerate(points):
        better = [(a <= c and b <= e) and (a < c or b < e) for a, b in points]
        if i in front:
            assert not any(better)
        else:
            same = any((cost[j], error[j]) == (c, e) for j in front)
            assert any(better) or same


def test_released_pareto_set_without_text():
    points = read_scores("reasoning_scores")
    cost = points["n_params_b"] * points["visual_tokens"]
    front = points.iloc[pareto_front(cost, points["error"])]
    found = list(zip(front["n_params_b"], front["visual_tokens"], strict=True))
    large = [(7.0, v) for v in (1, 4, 16, 36, 64, 144, 576)]
    assert found == [(0.5, 1), (1.8, 1), (4.0, 1), *large]


@pytest.mark.parametrize(("text_tokens", "count"), [(0, 10), (50, 20)])
def test_released_pareto_sets(text_tokens, count):
    points = read_scores("reasoning_scores")
    cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], text_tokens)
    assert len(pareto_front(cost, points["error"])) == count


SIZES = (0.5, 1.8, 4.0, 7.0, 14.0)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.floats(0, 300), st.floats(0.02, 0.3), st.floats(0.005, 0.2))
def test_nothing_lies_below_the_envelope(text_tokens, alpha, beta):
    def predict(n, t):
        return 0.6 * n**-alpha * t**-beta

    front = pareto_envelope(predict, SIZES, text_tokens)
    ends = front[["gflops_from", "gflops_to"]].to_numpy()
    assert (ends[:, 0] <= ends[:, 1]).all()
    assert (ends[1:, 0] >= ends[:-1, 1] * (1 - 1e-9)).all()
    errors = front[["error_from", "error_to"]].to_numpy().ravel()
    assert (np.diff(errors) <= 1e-9).all()
    for gflops in np.geomspace(ends.min(), ends.max(), 60):
        inside = front[(front["gflops_from"] <= gflops) & (gflops <= front["gflops_to"])]
        for n in SIZES:
            tokens = gflops / (2 * n) - text_tokens
            if tokens < 1:
                continue
            reached = predict(n, min(tokens, 576))
            best = (
                min(
                    predict(size, gflops / (2 * size) - text_tokens)
                    for size in inside["n_params_b"]
                )
                if len(inside)
                else front[front["gflops_to"] <= gflops]["error_to"].min()
            )
            assert reached >= best - 1e-9


def test_the_envelope_switches_at_the_crossovers():
    law = fit_power_law(read_scores("reasoning_scores"))
    front = pareto_envelope(law.predict, SIZES, 100)
    assert front["n_params_b"].tolist() == list(SIZES)
    assert front["gflops_from"].iloc[2:4].tolist() == pytest.approx([824.2, 1486.7], rel=1e-4)
    cached = pareto_envelope(law.predict, SIZES, 0)
    assert cached["tokens_from"].iloc[:-1].tolist() == pytest.approx([1] * 4)


def test_errors_along_the_front_of_cached_text():
    cost = prefill_gflops(REASONING["n_params_b"], REASONING["visual_tokens"], 0)
    front = REASONING["error"].to_numpy()[pareto_front(cost, REASONING["error"])]
    expected = [0.6145, 0.5667, 0.5370, 0.5190, 0.5029, 0.4950, 0.4859, 0.4828, 0.4762, 0.4646]
    assert front.tolist() == pytest.approx(expected, abs=1e-9)


def test_front_with_text():
    cost = prefill_gflops(REASONING["n_params_b"], REASONING["visual_tokens"], 50)
    front = REASONING.iloc[pareto_front(cost, REASONING["error"])]
    cells = [f"{n:g}/{v}" for n, v in zip(front["n_params_b"], front["visual_tokens"], strict=True)]
    small = ["0.5/1", "0.5/4", "0.5/16", "0.5/36", "0.5/64", "1.8/1", "1.8/4", "1.8/16", "1.8/36"]
    large = ["4/1", "4/4", "4/16", "4/36", "7/4", "4/64", "7/16", "7/36", "7/64", "7/144", "7/576"]
    assert cells == small + large
