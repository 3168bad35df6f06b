"""Errors without resampling, robust losses and variants, against references found independently."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from tests.unit.analysis.laws.test_power_law import design, released
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.robust import fit_robust
from vlmscale.analysis.laws.standard_errors import (
    count_determined,
    delta_method,
    estimate_covariance,
    jackknife,
    refit_without_each,
)
from vlmscale.analysis.laws.variants import fit_variants

POINTS = released("reasoning")
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
    truth = design(0.6, 0.08, 0.02, 0.0)
    simulated = []
    for _ in range(300):
        noisy = truth.assign(error=truth["error"] + rng.normal(0, 0.003, len(truth)))
        simulated.append(fit_power_law(noisy, floor=0.0).ratio)
    noisy = truth.assign(error=truth["error"] + rng.normal(0, 0.003, len(truth)))
    table = delta_method(noisy, fit_power_law(noisy, floor=0.0)).set_index("quantity")
    assert table.loc["ratio", "standard_error"] == pytest.approx(np.std(simulated), rel=0.3)


def test_jackknife_and_single_deletions():
    found = jackknife(POINTS, LAW).set_index("quantity")["standard_error"]
    expected = (0.0021, 0.0013, 0.00085)
    assert found[["amplitude", "alpha", "beta"]].tolist() == pytest.approx(expected, rel=2e-2)
    ratio = refit_without_each(POINTS)["ratio"]
    assert (ratio.min(), ratio.max()) == pytest.approx((4.573, 4.813), abs=1e-3)


def test_one_amplitude_too_many():
    assert count_determined(POINTS, LAW) == 4


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (1e-3, (0.5921, 0.07130, 0.01579)),
        (5e-3, (0.5921, 0.07141, 0.01568)),
        (1e-2, (0.5917, 0.07138, 0.01546)),
    ],
)
def test_huber(delta, expected):
    law = fit_robust(POINTS, delta=delta, floor=0.0)
    assert (law.amplitude, law.alpha, law.beta) == pytest.approx(expected, rel=1e-3)
    assert law.converged
    assert fit_robust(POINTS, delta=delta).floor == 0  # fitted, it lies on its bound too


def test_huber_of_ocr():
    law = fit_robust(released("ocr"), delta=1e-3, floor=0.0)
    assert (law.amplitude, law.alpha, law.beta) == pytest.approx(
        (0.9176, 0.03168, 0.03762), rel=1e-3
    )


def test_absolute_loss_is_the_linear_programme():
    log_n, log_t, y = take_logs(POINTS)
    n = len(y)
    design_matrix = np.column_stack([np.ones(n), -log_n, -log_t])
    above = np.block([[design_matrix, -np.eye(n)], [-design_matrix, -np.eye(n)]])
    exact = linprog(
        np.r_[np.zeros(3), np.ones(n)],
        A_ub=above,
        b_ub=np.r_[np.log(y), -np.log(y)],
        bounds=[(None, None)] * 3 + [(0, None)] * n,
    )
    law = fit_robust(POINTS, loss="absolute", floor=0.0)
    predicted = law.predict(np.exp(log_n), np.exp(log_t))
    assert np.abs(np.log(predicted / y)).sum() == pytest.approx(exact.fun, rel=1e-6)


def test_robust_losses_resist_an_outlier():
    points = design(0.6, 0.08, 0.02, 0.1)
    points.loc[3, "error"] += 0.1
    assert abs(fit_power_law(points, floor=0.1).alpha - 0.08) > 5e-3
    for loss in ("huber", "absolute"):
        law = fit_robust(points, loss=loss, floor=0.1)
        assert (law.alpha, law.beta) == pytest.approx((0.08, 0.02), rel=1e-2)


def test_variants_of_the_released_scores():
    sizes = {0.5: (0.4640, 0.3084), 1.8: (1.8368, 1.2145), 4: (3.9504, 3.1725), 7: (7.7213, 6.4767)}
    points = POINTS.assign(
        total_b=[sizes[n][0] for n in POINTS["n_params_b"]],
        non_embedding_b=[sizes[n][1] for n in POINTS["n_params_b"]],
    )
    table = fit_variants(points).set_index("variant")
    columns = ["alpha", "ratio", "sse"]
    found = table.loc["N: parameters without embeddings", columns].tolist()
    assert found == pytest.approx((0.06191, 4.100, 3.943e-4), rel=5e-4)
    found = table.loc["N: all parameters", columns].tolist()
    assert found == pytest.approx((0.06726, 4.453, 4.486e-4), rel=5e-4)
    logarithms = table.loc["least squares on ln(error), D = 0", ["amplitude", *columns]].tolist()
    assert logarithms == pytest.approx((0.5915, 0.07128, 4.633, 3.829e-4), rel=5e-4)
    assert table.loc["without V = 1", "points"] == 24
    assert table.loc["without 7B", "points"] == 21


def test_variants_of_a_small_study_leave_out_what_cannot_be_fitted():
    points = POINTS[POINTS["n_params_b"].isin([0.5, 7]) & POINTS["visual_tokens"].isin([1, 16])]
    names = set(fit_variants(points)["variant"])
    assert "least squares" in names
    assert not names & {"without 7B", "without V = 1"}


def test_seed_repeats_enter_as_points():
    points = pd.concat([POINTS.assign(seed=seed) for seed in (0, 1)])
    assert fit_power_law(points).alpha == pytest.approx(LAW.alpha, rel=1e-6)
