"""Robust losses agree with references found independently and resist an outlier."""

import numpy as np
import pytest
from scipy.optimize import linprog

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.robust import fit_robust

REASONING = read_scores("reasoning_scores")


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (1e-3, (0.5921, 0.07130, 0.01579)),
        (5e-3, (0.5921, 0.07141, 0.01568)),
        (1e-2, (0.5917, 0.07138, 0.01546)),
    ],
)
def test_huber(delta, expected):
    law = fit_robust(REASONING, delta=delta, floor=0.0)
    assert (law.amplitude, law.alpha, law.beta) == pytest.approx(expected, rel=1e-3)
    assert law.converged
    assert fit_robust(REASONING, delta=delta).floor == 0  # fitted, it lies on its bound too


def test_huber_of_ocr():
    law = fit_robust(read_scores("ocr_scores"), delta=1e-3, floor=0.0)
    assert (law.amplitude, law.alpha, law.beta) == pytest.approx(
        (0.9176, 0.03168, 0.03762), rel=1e-3
    )


def test_absolute_loss_is_the_linear_programme():
    log_n, log_t, y = take_logs(REASONING)
    n = len(y)
    design_matrix = np.column_stack([np.ones(n), -log_n, -log_t])
    above = np.block([[design_matrix, -np.eye(n)], [-design_matrix, -np.eye(n)]])
    exact = linprog(
        np.r_[np.zeros(3), np.ones(n)],
        A_ub=above,
        b_ub=np.r_[np.log(y), -np.log(y)],
        bounds=[(None, None)] * 3 + [(0, None)] * n,
    )
    law = fit_robust(REASONING, loss="absolute", floor=0.0)
    predicted = law.predict(np.exp(log_n), np.exp(log_t))
    assert np.abs(np.log(predicted / y)).sum() == pytest.approx(exact.fun, rel=1e-6)


def test_robust_losses_resist_an_outlier():
    points = plant_law(0.6, 0.08, 0.02, 0.1)
    points.loc[3, "error"] += 0.1
    assert abs(fit_power_law(points, floor=0.1).alpha - 0.08) > 5e-3
    for loss in ("huber", "absolute"):
        law = fit_robust(points, loss=loss, floor=0.1)
        assert (law.alpha, law.beta) == pytest.approx((0.08, 0.02), rel=1e-2)
