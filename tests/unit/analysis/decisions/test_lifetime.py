"""The LLM of the least lifetime cost, against brute force over options and numbers of answers."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_budget_law
from vlmscale.analysis.decisions.lifetime import (
    Lifetime,
    Sampled,
    find_envelope,
    rank_lifetimes,
    tabulate_lifetimes,
)
from vlmscale.analysis.laws.budget_law import fit_budget_law
from vlmscale.analysis.laws.budget_posterior import sample_budget_laws

SIZES = {"small": 0.5, "middle": 1.8, "big": 4.0, "large": 7.0}
COUNTS = (1, 4, 16, 64)
SAMPLED = Sampled({"short": 5e3, "full": 2e4}, text_tokens=60, image_share=0.9)
POINTS = plant_budget_law(1.2, 0.12, 0.03, 0.09, 0.1, counts=COUNTS)
POINTS["llm"] = POINTS["n_params_b"].map({n: llm for llm, n in SIZES.items()})
LAW = fit_budget_law(POINTS)
ASKED = Lifetime(LAW.predict(1.8, 64, 2e4).item(), 50, SAMPLED)


@pytest.fixture(scope="module")
def laws():
    rng = np.random.default_rng(0)
    noisy = POINTS.assign(error=POINTS["error"] + rng.normal(0, 0.002, len(POINTS)))
    return sample_budget_laws(noisy, draws=200, seed=0)


def test_needed_samples_reach_the_error():
    n, v = np.array([1.8, 4.0, 7.0]), np.array([64.0, 16.0, 16.0])
    samples = ASKED.count_samples(LAW, n, v)
    assert samples[0] == pytest.approx(2e4)
    assert LAW.predict(n, v, samples) == pytest.approx([ASKED.target] * 3)


def test_samples_stay_in_a_range():
    """Never less than the smallest budget, which is more than is needed; nothing far beyond the largest."""
    assert ASKED.count_samples(LAW, np.array([7e4]), np.array([64.0])) == 5e3
    assert np.isinf(ASKED.count_samples(LAW, np.array([0.01]), np.array([1.0]))).all()
    below_floor = Lifetime(0.05, 50, SAMPLED)
    assert np.isinf(below_floor.count_samples(LAW, np.array([7.0]), np.array([64.0]))).all()


def test_a_budget_without_effect_reaches_an_error_at_once_or_never():
    flat = fit_budget_law(plant_budget_law(0.4, 0.12, 0.03, 0.0, 0.0, counts=COUNTS))
    asked = Lifetime(flat.predict(1.8, 16, 5e3).item() + 1e-9, 50, SAMPLED)
    samples = asked.count_samples(flat, np.array([0.5, 1.8, 7.0]), np.array([16.0] * 3))
    assert samples.tolist() == [np.inf, 5e3, 5e3]


def test_costs():
    assert ASKED.train(2.0, 10.0, 1e3) == 6 * 2 * 1e3 * (60 + 9)
    assert ASKED.answer(2.0, 10.0) == 2 * 2 * 60


def test_the_envelope_is_the_cheapest_option_everywhere():
    rng = np.random.default_rng(0)
    for _ in range(50):
        training, answer = rng.exponential(1, 12), rng.exponential(1, 12)
        training[rng.random(12) < 0.2] = np.inf
        found = find_envelope(training, answer)
        assert found[0][0] == 0
        assert found[-1][1] == np.inf
        for (_, end, _), (start, _, _) in pairwise(found):
            assert start == end
        for k in np.geomspace(1e-3, 1e3, 40):
            (best,) = [option for start, end, option in found if start <= k < end]
            assert training[best] + k * answer[best] == pytest.approx((training + k * answer).min())
    assert find_envelope(np.array([np.inf]), np.array([1.0])) == []


def test_more_answers_go_to_what_answers_for_less(laws):
    table = rank_lifetimes(LAW, laws, SIZES, COUNTS, ASKED)
    assert (np.diff(table["answer_gflops"]) < 0).all()
    assert (np.diff(table["training_gflops"]) > 0).all()
    # By brute force over all options at some numbers of answers.
    options = pd.MultiIndex.from_product([SIZES, COUNTS], names=["llm", "v"]).to_frame(index=False)
    n, v = options["llm"].map(SIZES).to_numpy(float), options["v"].to_numpy(float)
    above = (LAW.amplitude * n**-LAW.alpha * v**-LAW.beta) / (ASKED.target - LAW.floor)
    samples = np.maximum(above ** (1 / LAW.gamma), 5e3)
    training = np.where(samples <= 2e5, 6 * n * samples * (60 + 0.9 * v), np.inf)
    for k in (0, 1e2, 1e4, 1e6, 1e8):
        best = options.loc[(training + k * 2 * n * (50 + v)).argmin()]
        row = table[(table["answers_from"] <= k) & (k < table["answers_to"])].iloc[0]
        assert (row["llm"], row["visual_tokens"]) == (best["llm"], best["v"])
    assert table["extrapolates"].eq(table["samples"] > 2e4).all()
    assert table["share_best"].between(0, 1).all()
    assert table["share_best"].max() > 0.9


def test_small_llms_are_right_for_many_answers(laws):
    table = rank_lifetimes(LAW, laws, SIZES, COUNTS, ASKED)
    assert table["n_params_b"].iloc[0] > table["n_params_b"].iloc[-1]


def test_an_error_out_of_reach_has_no_row(laws):
    asked = Lifetime(0.05, 50, SAMPLED)
    table = rank_lifetimes(LAW, laws, SIZES, COUNTS, asked)
    assert table.empty
    assert "share_best" in table


def test_default_targets_are_what_llms_reach():
    table = tabulate_lifetimes(POINTS, SAMPLED, [0, 50], draws=50, seed=0)
    assert set(table["target"]) == {"small", "middle", "big"}
    assert set(table["text_tokens"]) == {0, 50}
    errors = table.groupby("target")["target_error"].first()
    assert errors["middle"] == pytest.approx(ASKED.target)
    given = tabulate_lifetimes(POINTS, SAMPLED, [50], draws=50, seed=0, targets={"mine": 0.5})
    assert set(given["target_error"]) == {0.5}
    within = table["beyond"] == 1
    assert not table.loc[within, "extrapolates"].any()
    assert table.loc[~within, "extrapolates"].any()
    few = POINTS.query("n_params_b in (0.5, 7) and visual_tokens in (1, 4)").iloc[:7]
    assert tabulate_lifetimes(few, SAMPLED, [50], draws=50, seed=0).empty


@pytest.mark.parametrize(
    "wrong", [{"by_budget": {"full": 0.0}}, {"text_tokens": -1.0}, {"image_share": 1.1}]
)
def test_impossible_trainings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"samples of a training|is no share"):
        Sampled(**{**vars(SAMPLED), **wrong})
