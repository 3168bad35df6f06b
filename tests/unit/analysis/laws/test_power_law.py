"""The fitter: exact on planted laws, equal to the reference on the released numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmscale.analysis.laws.least_squares import fit_many, solve_linear_part
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import divide_exponents, fit_power_law, profile_floor
from vlmscale.errors import UserError

PUBLISHED = Path(__file__).parents[4] / "src/vlmscale/resources" / "published"
N, T = (0.5, 1.8, 4.0, 7.0), (1, 4, 16, 36, 64, 144, 576)


def released(family, drop=lambda table: table):
    table = drop(pd.read_csv(PUBLISHED / f"{family}_scores.csv"))
    return table.assign(error=1 - table["score"])


def listed(file, name=None):
    table = pd.read_csv(PUBLISHED / f"{file}.csv")
    if name:
        table = table[table["list"] == name]
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
        (
            released("ocr", lambda t: t.iloc[:-1][t.visual_tokens.iloc[:-1] >= 4]),
            0.9376,
            0.02962,
            0.04394,
            2.376e-3,
        ),
        (listed("earlier_scores", "hB_27"), 0.5883, 0.06915, 0.01457, 6.649e-4),
        (listed("earlier_scores", "hA_28"), 0.6216, 0.06464, 0.02050, 8.985e-4),
        (listed("earlier_scores", "h0_24"), 0.7037, 0.03563, 0.03007, 1.538e-3),
        (
            listed("ocr_unsplit_scores").query("visual_tokens >= 4"),
            0.9420,
            0.02890,
            0.04505,
            2.602e-3,
        ),
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
        a, d, sse = (v.item() for v in solve_linear_part(x[None], y[None], np.ones((1, 12)), *box))
        assert 0 <= a <= 10
        assert 0 <= d <= y.min()
        grid_a, grid_d = np.meshgrid(np.linspace(0, 2, 201), np.linspace(0, y.min(), 101))
        tried = ((grid_a[..., None] * x + grid_d[..., None] - y) ** 2).sum(-1)
        assert sse <= tried.min() + 1e-12


def test_weights_of_the_reference():
    points = released("reasoning")
    law = fit_power_law(points, weights=points["error"].to_numpy() ** -2)
    found = (law.amplitude, law.alpha, law.beta, law.sse)
    assert found == pytest.approx((0.5914, 0.07127, 0.01538, 1.336e-3), rel=5e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 27), st.integers(1, 3))
def test_a_repeated_point_is_a_weight(at, times):
    points = released("reasoning").assign(seed=0)
    repeats = [points.iloc[[at]].assign(seed=1 + i) for i in range(times)]
    repeated = fit_power_law(pd.concat([points, *repeats]))
    weights = np.ones(len(points))
    weights[at] += times
    weighted = fit_power_law(points, weights=weights)
    assert (repeated.alpha, repeated.beta) == pytest.approx(
        (weighted.alpha, weighted.beta), rel=1e-6
    )
    assert repeated.sse == pytest.approx(weighted.sse, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e6), st.randoms(use_true_random=False))
def test_rescaling_n_and_row_order_move_the_amplitude_alone(unit, random):
    points = design(0.4, 0.2, 0.1, 0.05)
    points["error"] += np.linspace(-0.004, 0.004, len(points)) * np.cos(np.arange(len(points)))
    law = fit_power_law(points, floor=0.05)
    order = list(range(len(points)))
    random.shuffle(order)
    moved = points.iloc[order].assign(n_params_b=lambda t: t["n_params_b"] * unit)
    if 0.01 < law.amplitude * unit**law.alpha < 9.9:  # inside the bounds of A
        other = fit_power_law(moved, floor=0.05)
        assert (other.alpha, other.beta) == pytest.approx((law.alpha, law.beta), rel=1e-5)
        assert other.amplitude == pytest.approx(law.amplitude * unit**law.alpha, rel=1e-4)


def test_noise_hides_the_parts_but_not_the_ratio():
    """On the released design with its noise, D and the exponents trade against each other."""
    truth = design(0.6, 0.08, 0.02, 0.1)
    log_n, log_t, y = take_logs(truth)
    noise = np.random.default_rng(0).normal(0, 0.0037, (300, len(y)))
    theta, _ = fit_many(log_n, log_t, y + noise, np.ones_like(noise))
    alpha_low, alpha_high = np.quantile(theta[:, 1], [0.025, 0.975])
    low, high = np.quantile(divide_exponents(theta[:, 1], theta[:, 2]), [0.025, 0.975])
    assert alpha_high / alpha_low > 1.6
    assert high / low < 1.2
    assert low < 4 < high
    assert 0.2 < (theta[:, 3] < 1e-9).mean() < 0.45


def test_without_a_bound_there_is_no_lowest_point():
    table = profile_floor(released("reasoning"), np.array([-1, -0.1, 0, 1 / 30, 0.1, 0.2, 0.3]))
    expected = [2.996e-4, 3.549e-4, 3.794e-4, 3.907e-4, 4.208e-4, 5.007e-4, 6.904e-4]
    assert table["sse"].tolist() == pytest.approx(expected, rel=3e-4)
    expected = [4.706, 4.698, 4.697, 4.698, 4.698, 4.705, 4.731]
    assert table["ratio"].tolist() == pytest.approx(expected, abs=1e-3)
    assert table["alpha"].tolist()[:2] == pytest.approx([0.02491, 0.05988], rel=5e-4)


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
        (lambda t: t.assign(error=np.nan), "column 'error' has missing"),
        (lambda t: t.assign(error="a"), "column 'error' must hold numbers"),
        (lambda t: t.assign(visual_tokens=np.inf), "'visual_tokens' has missing or infinite"),
        (lambda t: pd.concat([t, t.iloc[[3]]]), r"two rows for N = 0.5, V = 36"),
        (lambda t: t[t.visual_tokens == 4].assign(visual_tokens=4), "all rows have the same"),
        (lambda t: t.assign(n_params_b=0.0), "n_params_b.*must be positive"),
        (lambda t: t[t.n_params_b == 7], "all rows have the same n_params_b"),
        (lambda t: t.iloc[[0, 8, 16]], "3 rows are too few"),
    ],
)
def test_points_that_cannot_be_fitted(change, words):
    with pytest.raises(UserError, match=words):
        fit_power_law(change(released("reasoning")))
