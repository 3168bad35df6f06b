"""The fitted law: exact where planted, equal to references found independently on the released scores."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.laws import V, plant_law, read_scores
from vlmscale.analysis.laws.power_law import fit_power_law, fit_relative, profile_floor
from vlmscale.analysis.laws.robust import fit_robust
from vlmscale.errors import UserError

REASONING = read_scores("reasoning_scores")


COUNTS = np.array(V, float)


# Least-squares optima of the released scores, found independently of this code.
@pytest.mark.parametrize(
    ("points", "amplitude", "alpha", "beta", "sse"),
    [
        (read_scores("reasoning_scores"), 0.5908, 0.07094, 0.01510, 3.794e-4),
        (read_scores("ocr_scores"), 0.9172, 0.02823, 0.03941, 5.137e-3),
        (read_scores("ocr_scores", "visual_tokens >= 4"), 0.9402, 0.03047, 0.04472, 2.575e-3),
        (read_scores("ocr_scores", "index < 27"), 0.9151, 0.02709, 0.03862, 4.585e-3),
        (
            read_scores("ocr_scores", "index < 27 and visual_tokens >= 4"),
            0.9376,
            0.02962,
            0.04394,
            2.376e-3,
        ),
        (read_scores("earlier_scores", "list == 'hB_27'"), 0.5883, 0.06915, 0.01457, 6.649e-4),
        (read_scores("earlier_scores", "list == 'hA_28'"), 0.6216, 0.06464, 0.02050, 8.985e-4),
        (read_scores("earlier_scores", "list == 'h0_24'"), 0.7037, 0.03563, 0.03007, 1.538e-3),
        (
            read_scores("ocr_unsplit_scores", "visual_tokens >= 4"),
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
    law = fit_power_law(read_scores("reasoning_scores"), floor=floor)
    assert (law.alpha, law.beta, law.sse) == pytest.approx((alpha, beta, sse), rel=3e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 0.5), st.floats(0.02, 0.4), st.floats(0.01, 0.3), st.floats(0.0, 0.2))
def test_a_planted_law_is_recovered(amplitude, alpha, beta, floor):
    law = fit_power_law(plant_law(amplitude, alpha, beta, floor))
    assert law.sse < 1e-14
    assert law.converged
    assert law.alpha == pytest.approx(alpha, abs=1e-3)
    assert law.beta == pytest.approx(beta, abs=1e-3)
    assert law.floor == pytest.approx(floor, abs=5e-3)


def test_weights_of_the_reference():
    points = read_scores("reasoning_scores")
    weights = points["error"].to_numpy() ** -2
    law = fit_power_law(points, weights=weights)
    residual = law.predict_points(points) - points["error"]
    found = (law.amplitude, law.alpha, law.beta, (weights * residual**2).sum())
    assert found == pytest.approx((0.5914, 0.07127, 0.01538, 1.336e-3), rel=5e-4)
    assert law.sse == pytest.approx((residual**2).sum(), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 27), st.integers(1, 3))
def test_a_repeated_point_is_a_weight(at, times):
    points = read_scores("reasoning_scores").assign(seed=0)
    repeats = [points.iloc[[at]].assign(seed=1 + i) for i in range(times)]
    repeated = fit_power_law(pd.concat([points, *repeats]))
    weights = np.ones(len(points))
    weights[at] += times
    weighted = fit_power_law(points, weights=weights)
    assert (repeated.alpha, repeated.beta) == pytest.approx(
        (weighted.alpha, weighted.beta), rel=1e-6
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e6), st.randoms(use_true_random=False))
def test_rescaling_n_and_row_order_move_the_amplitude_alone(unit, random):
    points = plant_law(0.4, 0.2, 0.1, 0.05)
    points["error"] += np.linspace(-0.004, 0.004, len(points)) * np.cos(np.arange(len(points)))
    law = fit_power_law(points, floor=0.05)
    order = list(range(len(points)))
    random.shuffle(order)
    moved = points.iloc[order].assign(n_params_b=lambda t: t["n_params_b"] * unit)
    other = fit_power_law(moved, floor=0.05)
    assert (other.alpha, other.beta) == pytest.approx((law.alpha, law.beta), rel=1e-5)
    assert other.amplitude == pytest.approx(law.amplitude * unit**law.alpha, rel=1e-4)


@pytest.mark.parametrize(
    ("truth", "counts"),
    [
        ((40.0, 0.15, 0.85, 0.12), (144, 256, 576, 1152, 2304)),
        ((300.0, 0.3, 0.95, 0.05), (256, 576, 1024, 2304)),
        ((1e4, 0.9, 0.99, 0.2), (4096, 9216, 16384)),
    ],
)
def test_no_amplitude_is_too_large(truth, counts):
    points = plant_law(*truth, sizes=(7.0, 14.0, 32.0, 72.0), counts=counts)
    law = fit_power_law(points)
    found = (law.amplitude, law.alpha, law.beta, law.floor)
    assert found == pytest.approx(truth, rel=1e-4)
    assert law.bounds == ""
    robust = fit_robust(points)
    assert (robust.alpha, robust.beta, robust.floor) == pytest.approx(truth[1:], rel=1e-4)


@pytest.mark.parametrize(
    ("truth", "floor", "bounds"),
    [
        ((0.6, 0.1, 0.02, 0.1), None, ""),
        ((0.6, 0.1, 0.02, 0.1), 0.1, ""),
        ((0.6, 0.1, -0.02, 0.0), None, "beta at its lower bound, 0"),
        ((0.3, -0.1, -0.02, 0.0), None, "alpha at its lower bound, 0; beta at its lower bound, 0"),
        ((0.2, 1.5, 0.02, 0.1), None, "alpha at its upper bound, 1"),
    ],
)
def test_a_law_says_which_bounds_it_reached(truth, floor, bounds):
    points = plant_law(*truth)
    for law in (fit_power_law(points, floor=floor), fit_robust(points, floor=floor)):
        assert law.bounds.startswith(bounds)
        assert bool(law.bounds) == bool(bounds)


def test_without_a_bound_there_is_no_lowest_point():
    table = profile_floor(
        read_scores("reasoning_scores"), np.array([-1, -0.1, 0, 1 / 30, 0.1, 0.2, 0.3])
    )
    expected = [2.996e-4, 3.549e-4, 3.794e-4, 3.907e-4, 4.208e-4, 5.007e-4, 6.904e-4]
    assert table["sse"].tolist() == pytest.approx(expected, rel=3e-4)
    expected = [4.706, 4.698, 4.697, 4.698, 4.698, 4.705, 4.731]
    assert table["ratio"].tolist() == pytest.approx(expected, abs=1e-3)
    assert table["alpha"].tolist()[:2] == pytest.approx([0.02491, 0.05988], rel=5e-4)


def test_row_order_and_unit_of_n_do_not_matter():
    points = read_scores("reasoning_scores")
    law = fit_power_law(points)
    shuffled = fit_power_law(points.sample(frac=1, random_state=1))
    scaled = fit_power_law(points.assign(n_params_b=points["n_params_b"] * 1000))
    for other in (shuffled, scaled):
        assert (other.alpha, other.beta) == pytest.approx((law.alpha, law.beta), rel=1e-6)


def test_seed_repeats_enter_as_points():
    points = pd.concat([REASONING.assign(seed=seed) for seed in (0, 1)])
    assert fit_power_law(points).alpha == pytest.approx(fit_power_law(REASONING).alpha, rel=1e-6)


def test_residuals_of_the_law():
    law = fit_power_law(REASONING)
    residual = REASONING["error"] - law.predict(
        REASONING["n_params_b"].to_numpy(), REASONING["visual_tokens"].to_numpy(float)
    )
    assert np.sqrt((residual**2).mean()) == pytest.approx(0.003681, rel=1e-3)
    assert np.abs(residual).max() == pytest.approx(0.0069, abs=1e-4)


def test_two_sizes_predict_the_two_larger_ones():
    small = REASONING[REASONING["n_params_b"] < 2]
    large = REASONING[REASONING["n_params_b"] > 2]
    law = fit_power_law(small)
    predicted = law.predict(large["n_params_b"].to_numpy(), large["visual_tokens"].to_numpy(float))
    off = np.abs(predicted / large["error"] - 1)
    assert 100 * off.max() == pytest.approx(2.17, abs=0.01)


def test_fitted_errors():
    law = fit_power_law(REASONING)
    cells = [(0.5, 1), (0.5, 576), (1.8, 16), (4, 16), (7, 1), (7, 16), (7, 576)]
    n, t = (np.array(axis, float) for axis in zip(*cells, strict=True))
    expected = [0.6205, 0.5638, 0.5434, 0.5135, 0.5146, 0.4935, 0.4675]
    assert law.predict(n, t).tolist() == pytest.approx(expected, abs=6e-5)
    expected = [0.4899, 0.4798, 0.4698, 0.4641, 0.4601, 0.4545, 0.4451]
    assert law.predict(14.0, COUNTS).tolist() == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    "fit", [fit_relative, fit_robust, lambda points: fit_robust(points, loss="absolute")]
)
def test_an_error_of_zero_has_no_relative_size(fit):
    points = plant_law(0.6, 0.1, 0.02, 0.0)
    points.loc[[3, 5], "error"] = 0.0
    with pytest.raises(UserError, match=r"N = 0.5, V = 36 is 0, which has no logarithm"):
        fit(points)
