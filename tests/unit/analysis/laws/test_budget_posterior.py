"""Drawn laws with a training budget: intervals hold the truth, and a Markov chain gives the same."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_budget_law
from vlmscale.analysis.laws.budget_law import fit_budget_law
from vlmscale.analysis.laws.budget_posterior import sample_budget_laws
from vlmscale.analysis.laws.intervals import find_intervals
from vlmscale.errors import UserError

NAMES = ("alpha", "beta", "gamma")
TRUTH = {"amplitude": 1.2, "alpha": 0.12, "beta": 0.03, "gamma": 0.09, "floor": 0.2}
COUNTS = (1, 4, 16, 64, 576)
ENDS = (0.025, 0.5, 0.975)


def disturb(seed, *, truth=None, noise=0.004, offset=0.0):
    points = plant_budget_law(**(truth or TRUTH), counts=COUNTS)
    rng = np.random.default_rng(seed)
    sizes = points["n_params_b"].unique()
    own = points["n_params_b"].map(dict(zip(sizes, rng.normal(0, offset, len(sizes)), strict=True)))
    return points.assign(error=points["error"] + own + rng.normal(0, noise, len(points)))


def draw(points, **options):
    return sample_budget_laws(points, **{"draws": 2000, "seed": 0, **options})


@pytest.mark.parametrize(("floor", "offset"), [(0.0, 0.0), (0.2, 0.0), (0.2, 0.008)])
def test_intervals_hold_the_truth(floor, offset):
    """In benchmarks/budget_intervals.py 92 to 100 % do; of the 12 data sets here at most 3 may fail."""
    truth = {**TRUTH, "floor": floor}
    expected = {name: truth[name] for name in NAMES} | {"ratio": 4.0, "floor": floor}
    held = dict.fromkeys(expected, 0)
    for seed in range(12):
        found = find_intervals(draw(disturb(seed, truth=truth, offset=offset), draws=800))
        for name, value in expected.items():
            held[name] += found[name][0] <= value <= found[name][1]
    assert min(held.values()) >= 9, held


@pytest.mark.slow
def test_a_markov_chain_finds_the_same_law():
    """Metropolis at D = 0.2 with offsets and slopes, on logarithms of spreads."""
    points = disturb(1, offset=0.006)
    logs = np.log(points[["n_params_b", "visual_tokens", "samples"]].to_numpy(float).T)
    z, y = logs - logs.mean(1)[:, None], points["error"].to_numpy(float) - 0.2
    same = np.equal.outer(*[points["n_params_b"].to_numpy()] * 2)
    reach = np.ptp(z[1]) / 2
    crossed = np.outer(z[1], z[1]) / reach**2

    def log_p(state):
        a, *e, log_noise, log_u, log_t = state
        if a <= 0 or min(e) < 0 or max(e) > 1:
            return -np.inf
        u, t = np.exp([log_u, log_t])
        cov = np.eye(len(y)) + same * (u**2 + t**2 * crossed)
        root = np.linalg.cholesky(cov)
        missed = np.linalg.solve(root, y - a * np.exp(-np.array(e) @ z))
        squares = float(missed @ missed) / np.exp(2 * log_noise)
        prior = log_u - np.log1p(u**2) + log_t - np.log1p(t**2)
        return prior - np.log(np.diag(root)).sum() - len(y) * log_noise - 0.5 * squares

    laws = draw(points, floor=0.2, draws=4000)
    level = laws["amplitude"] * np.exp(-(laws[list(NAMES)].to_numpy() @ logs.mean(1)))
    spreads = np.log(
        [laws["noise"], laws["offset"] / laws["noise"], laws["slope"] * reach / laws["noise"]]
    )
    start = np.vstack([level, laws[list(NAMES)].to_numpy().T, spreads])
    root = np.linalg.cholesky(np.cov(start))
    rng = np.random.default_rng(0)
    chains = []
    for _ in range(8):
        state = np.median(start, axis=1)
        now = log_p(state)
        for step in range(20000):
            trial = state + 0.8 * root @ rng.standard_normal(7)
            there = log_p(trial)
            if np.log(rng.random()) < there - now:
                state, now = trial, there
            if step >= 500:
                chains.append(state)
    expected = pd.DataFrame(np.array(chains)[:, 1:4], columns=NAMES).quantile(ENDS)
    found = laws[list(NAMES)].quantile(ENDS)
    spread = (expected.loc[0.975] - expected.loc[0.025]).to_numpy()
    assert (np.abs((found - expected).to_numpy()) <= 0.08 * spread).all()


def test_more_budgets_narrow_gamma_and_the_estimate_lies_inside():
    two = disturb(0)
    more = plant_budget_law(**TRUTH, counts=COUNTS, samples=(5e3, 2e4, 8e4, 3.2e5))
    four = more.assign(error=more["error"] + np.random.default_rng(0).normal(0, 0.004, len(more)))
    widths = []
    for points in (two, four):
        low, high = find_intervals(draw(points, floor=0.2))["gamma"]
        assert low <= fit_budget_law(points, floor=0.2).gamma <= high
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]


def test_a_budget_without_effect_has_an_interval_from_0():
    points = disturb(2, truth={**TRUTH, "gamma": 0.0, "amplitude": 0.4})
    laws = draw(points)
    assert (laws["gamma"] >= 0).all()
    low, high = find_intervals(laws)["gamma"]
    assert low == 0
    assert high < 0.05


def test_units_and_seeds():
    points = disturb(0)
    laws = draw(points, draws=300)
    same, other = draw(points, draws=300), draw(points, draws=300, seed=1)
    pd.testing.assert_frame_equal(laws, same)
    assert not laws.equals(other)
    scaled = draw(points.assign(samples=1000 * points["samples"]), draws=300)
    for name in (*NAMES, "floor", "noise", "offset", "slope"):
        assert scaled[name].to_numpy() == pytest.approx(laws[name].to_numpy(), rel=1e-5), name
    predicted = laws["amplitude"] * laws["center_s"] ** -laws["gamma"]
    again = scaled["amplitude"] * scaled["center_s"] ** -scaled["gamma"]
    assert again.to_numpy() == pytest.approx(predicted.to_numpy(), rel=1e-5)


def test_few_points_are_refused():
    corners = plant_budget_law(**TRUTH, counts=(1, 64)).query("n_params_b in (0.5, 7)")
    assert len(draw(corners, draws=10)) == 10
    with pytest.raises(UserError, match="7 points are too few"):
        draw(corners.iloc[:7], draws=10)
