"""Laws of N, V and training budget: planted ones are found, and the right form is best."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_budget_law
from vlmscale.analysis.laws.budget_law import compare_budget_forms, fit_budget_law
from vlmscale.errors import UserError

TRUTH = {"amplitude": 1.2, "alpha": 0.18, "beta": 0.05, "gamma": 0.16, "floor": 0.15}
POINTS = plant_budget_law(**TRUTH)


@pytest.mark.parametrize("floor", [0.0, 0.15])
def test_a_planted_law_is_found(floor):
    law = fit_budget_law(plant_budget_law(**{**TRUTH, "floor": floor}))
    for name, value in {**TRUTH, "floor": floor}.items():
        assert getattr(law, name) == pytest.approx(value, abs=1e-7), name
    assert law.floor_bound == ("interior" if floor else "lower")
    assert law.ratio == pytest.approx(3.6)
    assert law.sse < 1e-20


def test_predictions_are_the_formula():
    law = fit_budget_law(POINTS)
    expected = 1.2 * 14**-0.18 * 9**-0.05 * 8e4**-0.16 + 0.15
    assert law.predict(14.0, 9.0, 8e4).item() == pytest.approx(expected, abs=1e-9)


def test_no_other_law_fits_better():
    """The optimum against a general optimiser from several starts, with noise."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(3)
    points = POINTS.assign(error=POINTS["error"] + rng.normal(0, 0.01, len(POINTS)))
    law = fit_budget_law(points)
    logs = np.log(points[["n_params_b", "visual_tokens", "samples"]].to_numpy(float))
    y = points["error"].to_numpy()

    def sse(p):
        return ((np.exp(p[0] - logs @ p[1:4]) + p[4] - y) ** 2).sum()

    bounds = [(-5, 10), *[(0, 1)] * 3, (0, y.min())]
    others = [
        minimize(sse, [0, a, 0.05, 0.1, d], bounds=bounds, options={"maxiter": 5000, "ftol": 1e-15})
        for a in (0.05, 0.3)
        for d in (0.0, 0.2)
    ]
    assert law.sse <= min(other.fun for other in others) + 1e-9


def test_exponents_at_a_bound_are_said():
    flat = plant_budget_law(1.0, 0.1, 0.0, 0.1, 0.0)
    rising = flat.assign(error=flat["error"] + 0.002 * np.log(flat["visual_tokens"]))
    law = fit_budget_law(rising)
    assert (law.beta, law.ratio) == (0.0, np.inf)
    assert "beta at its lower bound" in law.bounds


def test_a_fixed_floor_stays():
    law = fit_budget_law(POINTS, floor=0.1)
    assert (law.floor, law.floor_bound) == (0.1, "fixed")


def test_the_true_form_is_best():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.003, len(POINTS))
    n, v, s = (POINTS[name].to_numpy(float) for name in ("n_params_b", "visual_tokens", "samples"))
    log_s = np.log(s) - np.log(s).mean()
    truths = {
        "product": POINTS["error"],
        "no budget": 0.5 * n**-0.18 * v**-0.05 + 0.1,
        "added budget": 0.4 * n**-0.18 * v**-0.05 + 20 * s**-0.6 + 0.05,
        "moving exponents": 1.2 * n**-0.18 * v ** -(0.05 + 0.04 * log_s) * s**-0.16,
    }
    for form, error in truths.items():
        table = compare_budget_forms(POINTS.assign(error=error + noise)).set_index("form")
        # A form may hold the truth and spare parameters, which cost it at most a few units.
        assert table.loc[form, "aicc"] < table["aicc"].min() + 6, form
        assert table.loc[form, "sse"] < 1.3 * (noise**2).sum(), form
    exact = compare_budget_forms(POINTS.assign(error=truths["moving exponents"])).set_index("form")
    assert exact.loc["moving exponents", "b"] == pytest.approx(0.04, abs=1e-4)


def test_aicc_counts_parameters_and_the_variance():
    rng = np.random.default_rng(1)
    points = POINTS.assign(error=POINTS["error"] + rng.normal(0, 0.01, len(POINTS)))
    row = compare_budget_forms(points).set_index("form").loc["product"]
    n, k = len(points), 6
    assert row["parameters"] == 5
    expected = n * np.log(row["sse"] / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    assert row["aicc"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": 100.0}, "one training budget"),
        ({"samples": 0.0}, "positive"),
        ({"samples": np.nan}, "positive"),
        ({"visual_tokens": 4}, "same visual_tokens"),
    ],
)
def test_points_without_a_law_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        fit_budget_law(POINTS.assign(**change))


def test_missing_samples_are_named():
    with pytest.raises(UserError, match="'samples' is missing"):
        fit_budget_law(POINTS.drop(columns="samples"))


def test_few_points_have_fewer_forms():
    corners = POINTS["n_params_b"].isin([0.5, 7.0]) & POINTS["visual_tokens"].isin([1, 64])
    table = compare_budget_forms(POINTS[corners])
    assert len(POINTS[corners]) == 8
    assert "moving exponents" in set(table["form"])
    assert not np.isfinite(table.set_index("form").loc["moving exponents", "aicc"])
    few = pd.concat([POINTS[corners].iloc[:6]])
    assert "moving exponents" not in set(compare_budget_forms(few)["form"])
