"""The solver: its linear part is exact, and noise moves the parts of a law but not their ratio."""

import numpy as np

from tests.support.laws import plant_law
from vlmscale.analysis.laws.least_squares import fit_many, solve_linear_part
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import divide_exponents


def test_the_linear_part_is_the_best_of_the_box():
    """Against a fine enumeration of the box, also where the free solution lies outside it."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.uniform(0.2, 1, 12), rng.uniform(0.1, 0.9, 12)
        box = np.zeros((1, 1)), np.full((1, 1), y.min())
        a, d, sse = (v.item() for v in solve_linear_part(x[None], y[None], np.ones((1, 12)), *box))
        assert a >= 0
        assert 0 <= d <= y.min()
        grid_a, grid_d = np.meshgrid(np.linspace(0, 2, 201), np.linspace(0, y.min(), 101))
        tried = ((grid_a[..., None] * x + grid_d[..., None] - y) ** 2).sum(-1)
        assert sse <= tried.min() + 1e-12


def test_noise_hides_the_parts_but_not_the_ratio():
    """On the released design with its noise, D and the exponents trade against each other."""
    truth = plant_law(0.6, 0.08, 0.02, 0.1)
    log_n, log_t, y = take_logs(truth)
    noise = np.random.default_rng(0).normal(0, 0.0037, (300, len(y)))
    theta, _ = fit_many(log_n, log_t, y + noise, np.ones_like(noise))
    alpha_low, alpha_high = np.quantile(theta[:, 1], [0.025, 0.975])
    low, high = np.quantile(divide_exponents(theta[:, 1], theta[:, 2]), [0.025, 0.975])
    assert alpha_high / alpha_low > 1.6
    assert high / low < 1.2
    assert low < 4 < high
    assert 0.2 < (theta[:, 3] < 1e-9).mean() < 0.45
