"""The choice within a budget: references, and agreement with plain enumeration."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.laws import read_scores
from vlmscale.analysis.decisions.recommend import interpolate_cost, predict_refits, rank_choices
from vlmscale.analysis.laws.bootstrap import bootstrap
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.errors import UserError

POINTS = {family: read_scores(f"{family}_scores") for family in ("reasoning", "ocr")}
LAWS = {family: fit_power_law(points) for family, points in POINTS.items()}
DRAWS = {
    family: bootstrap(points, LAWS[family], "sizes", draws=200, seed=0)
    for family, points in POINTS.items()
}
SIZES = {f"{n:g}B": n for n in (0.5, 1.8, 4.0, 7.0, 14.0)}


def ranked(family, gflops, text_tokens=50, token_counts=range(1, 577)):
    def cost(llm, tokens):
        return prefill_gflops(SIZES[llm], tokens, text_tokens)

    return rank_choices(
        LAWS[family], DRAWS[family], POINTS[family], SIZES, cost, gflops, token_counts=token_counts
    )


def test_reference_budget():
    best, runner_up = ranked("reasoning", 2000).to_dict("records")[:2]
    assert (best["llm"], best["visual_tokens"]) == ("14B", 21)
    # at the 21.43 tokens that the budget allows before rounding down it is 0.4678
    assert best["error"] == pytest.approx(0.46789, abs=1e-5)
    assert "14B is beyond the largest one fitted, 7B" in best["extrapolates"]
    assert (runner_up["llm"], runner_up["visual_tokens"]) == ("7B", 92)
    assert best["error_low"] < best["error"] < best["error_high"]
    assert best["share_best"] > 0.9


@pytest.mark.parametrize("gflops", [120, 500, 2000, 10_000])
def test_ocr_spends_the_budget_on_tokens(gflops):
    table = ranked("ocr", gflops)
    best = table.iloc[0]
    room = min(576, int(gflops / (2 * best["n_params_b"]) - 50))
    assert best["visual_tokens"] == room
    assert (
        best["visual_tokens"]
        == table[table["n_params_b"] >= best["n_params_b"]]["visual_tokens"].max()
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["reasoning", "ocr"]),
    st.floats(60, 20_000),
    st.integers(0, 200),
    st.sets(st.sampled_from([1, 4, 16, 36, 64, 144, 576]), min_size=1),
)
def test_the_best_of_all_that_can_be_afforded(family, gflops, text_tokens, counts):
    affordable = [
        (float(LAWS[family].predict(n, v)), llm, v)
        for llm, n in SIZES.items()
        for v in counts
        if 2 * n * (text_tokens + v) <= gflops
    ]
    if not affordable:
        with pytest.raises(UserError, match="allows no answer at all"):
            ranked(family, gflops, text_tokens, sorted(counts))
        return
    best = ranked(family, gflops, text_tokens, sorted(counts)).iloc[0]
    assert best["error"] == pytest.approx(min(affordable)[0], rel=1e-12)
    assert best["cost"] <= gflops


def test_an_impossible_budget_names_the_smallest_possible():
    with pytest.raises(
        UserError, match=r"smallest possible one is 51 GFLOPs: 0.5B with 1 visual token\."
    ):
        ranked("reasoning", 20)


def test_predictions_are_those_of_the_law():
    law = LAWS["reasoning"]
    draws = pd.DataFrame(
        [[law.amplitude, law.alpha, law.beta, law.floor]],
        columns=["amplitude", "alpha", "beta", "floor"],
    )
    n, t = np.array([0.5, 14]), np.array([1.0, 36])
    assert predict_refits(draws, n, t)[0] == pytest.approx(law.predict(n, t), rel=1e-12)


def test_measured_latencies_are_interpolated_never_extended():
    cost = interpolate_cost(
        pd.DataFrame({"llm": ["a", "a"], "visual_tokens": [4, 16], "latency_ms": [10.0, 22.0]})
    )
    assert cost("a", np.array([1, 4, 10, 16, 36])).tolist() == [np.inf, 10, 16, 22, np.inf]
    with pytest.raises(UserError, match="no row for b"):
        cost("b", np.array([4]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(latency_ms=0.0), "'latency_ms' must hold positive numbers"),
        (lambda t: t.assign(latency_ms=np.inf), "'latency_ms' must hold positive numbers"),
        (lambda t: pd.concat([t, t]), "two rows for one visual_tokens"),
    ],
)
def test_bad_latency_tables(change, words):
    table = pd.DataFrame({"llm": ["a"], "visual_tokens": [4], "latency_ms": [10.0]})
    with pytest.raises(UserError, match=words):
        interpolate_cost(change(table))
