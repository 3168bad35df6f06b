"""Standard errors agree with references found independently and with simulation."""

import numpy as np
import pytest
from scipy import stats

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.standard_errors import (
    count_determined,
    delta_method,
    estimate_covariance,
    jackknife,
    refit_without_each,
)

POINTS = read_scores("reasoning_scores")
LAW = fit_power_law(POINTS)


def test_asymptotic_errors():
    found = delta_method(POINTS, LAW).set_index("quantity")["standard_error"]
    expected = {"amplitude": 0.00163, "alpha": 0.00136, "beta": 0.00069, "ratio": 0.232}
    assert found.to_dict() == pytest.approx(expected, rel=5e-3)
    matrix = estimate_covariance(POINTS, LAW)
    # on a full grid of sizes and counts the exponents do not trade against each other
    assert matrix.loc["alpha", "beta"] == pytest.approx(0, abs=1e-12)


def test_delta_method_agrees_with_simulation():
    rng = np.random.default_rng(0)
    truth = plant_law(0.6, 0.08, 0.02, 0.0)
    simulated = []
    for _ in range(300):
        noisy = truth.assign(error=truth["error"] + rng.normal(0, 0.003, len(truth)))
        simulated.append(fit_power_law(noisy, floor=0.0).ratio)
    noisy = truth.assign(error=truth["error"] + rng.normal(0, 0.003, len(truth)))
    table = delta_method(noisy, fit_power_law(noisy, floor=0.0)).set_index("quantity")
    assert table.loc["ratio", "standard_error"] == pytest.approx(np.std(simulated), rel=0.3)


def test_a_jackknife_leaves_out_llms_and_of_two_sizes_points():
    found = jackknife(POINTS, LAW).set_index("quantity")["standard_error"]
    assert found["alpha"] == pytest.approx(0.00199, rel=5e-3)
    two = POINTS[POINTS["n_params_b"] < 2]
    law = fit_power_law(two)
    without = [fit_power_law(two.drop(row)).alpha for row in two.index]
    n = len(two)
    expected = np.sqrt((n - 1) / n * np.sum((without - np.mean(without)) ** 2))
    table = jackknife(two, law).set_index("quantity")
    assert table.loc["alpha", "standard_error"] == pytest.approx(expected, rel=1e-6)


def test_single_deletions():
    ratio = refit_without_each(POINTS, np.arange(len(POINTS)))["ratio"]
    assert (ratio.min(), ratio.max()) == pytest.approx((4.573, 4.813), abs=1e-3)


@pytest.mark.parametrize(("method", "df"), [(delta_method, 25), (jackknife, 3)])
def test_intervals_are_students(method, df):
    """28 points and 3 free parameters, as D is on its bound; 4 LLMs."""
    row = method(POINTS, LAW).set_index("quantity").loc["alpha"]
    reach = stats.t.ppf(0.975, df) * row["standard_error"]
    assert (row["low"], row["high"]) == pytest.approx((LAW.alpha - reach, LAW.alpha + reach))


def test_one_amplitude_too_many():
    assert count_determined(POINTS, LAW) == 4
