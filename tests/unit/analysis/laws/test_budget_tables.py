"""The table of laws with a training budget: its rows, and V* where the budget moves it."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_budget_law
from vlmscale.analysis.laws.budget_law import fit_budget_law
from vlmscale.analysis.laws.budget_tables import ALL, ALONE, describe_budgets
from vlmscale.analysis.laws.power_law import fit_power_law

POINTS = plant_budget_law(1.2, 0.12, 0.03, 0.09, 0.1)
POINTS["budget"] = POINTS["samples"].map({5e3: "short", 2e4: "full"})
RNG = np.random.default_rng(0)
NOISY = POINTS.assign(error=POINTS["error"] + RNG.normal(0, 0.003, len(POINTS)))


@pytest.fixture(scope="module")
def table():
    return describe_budgets(NOISY, [0, 50], draws=300, seed=0)


def test_forms_over_all_budgets_best_first(table):
    forms = table[table["budget"] == ALL]
    assert set(forms["form"]) == {
        *("product", "no budget", "added budget", "sum", "moving exponents", "log-linear")
    }
    assert forms["aicc"].is_monotonic_increasing
    assert (forms["points"] == len(NOISY)).all()
    assert forms["fitted"].str.contains("alpha 0.").all()


def test_the_product_has_intervals(table):
    row = table[(table["form"] == "product")].iloc[0]
    law = fit_budget_law(NOISY)
    assert row["scheme"] == "hierarchical"
    for name in ("alpha", "beta", "gamma", "ratio", "floor"):
        assert row[name] == getattr(law, name)
        assert row[f"{name}_low"] < row[f"{name}_high"]
    assert row["tokens_at_50"] == pytest.approx(50 / (law.ratio - 1))
    assert row["tokens_at_50_low"] <= row["tokens_at_50"] <= row["tokens_at_50_high"]


def test_each_budget_alone_is_the_law_of_its_points(table):
    alone = table[table["form"] == ALONE].set_index("budget")
    assert alone["samples"].to_dict() == {"short": 5e3, "full": 2e4}
    for budget, row in alone.iterrows():
        law = fit_power_law(NOISY[NOISY["budget"] == budget])
        assert (row["alpha"], row["beta"], row["sse"]) == (law.alpha, law.beta, law.sse)
        assert row["alpha_low"] < row["alpha_high"]
    assert alone["gamma"].isna().all()


def test_moving_exponents_move_the_best_number_of_tokens():
    """Tokens need training: beta grows with ln S, so V* does."""
    n, v, s = (POINTS[name].to_numpy(float) for name in ("n_params_b", "visual_tokens", "samples"))
    shift = 0.01 * (np.log(s) - np.log(s).mean())
    points = POINTS.assign(error=0.6 * n**-0.12 * v ** -(0.03 + shift))
    rows = describe_budgets(points, [50], draws=50, seed=0)
    moving = rows[(rows["form"] == "moving exponents") & (rows["budget"] != ALL)]
    assert moving["budget"].tolist() == ["short", "full"]
    half = 0.01 * np.log(4) / 2
    expected = [50 / (0.12 / (0.03 + step) - 1) for step in (-half, half)]
    assert moving["tokens_at_50"].to_numpy() == pytest.approx(expected, rel=0.01)
    alone = rows[rows["form"] == ALONE]
    assert alone["tokens_at_50"].to_numpy() == pytest.approx(expected, rel=0.01)


def test_few_points_of_a_budget_have_a_note():
    few = NOISY[(NOISY["budget"] == "full") | (NOISY["visual_tokens"] == 1)]
    rows = describe_budgets(few, [50], draws=50, seed=0)
    (note,) = rows.loc[(rows["form"] == ALONE) & (rows["budget"] == "short"), "note"]
    assert "same visual_tokens" in note


def test_errors_that_depend_on_nothing_have_a_note():
    for level in (0.0, 0.5, 1.0):
        rows = describe_budgets(POINTS.assign(error=level), [50], draws=50, seed=0)
        product = rows[rows["form"] == "product"].iloc[0]
        assert product["note"] == f"every point has the error {level:g}: it depends on nothing"
        assert np.isnan(product["gamma_low"])


@pytest.mark.filterwarnings("error")
def test_strange_errors_have_a_law():
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 1, len(POINTS))
    step = np.where(POINTS["visual_tokens"] >= 16, 0.1, 1.0)
    for error in (noise, step, 1 - POINTS["error"], POINTS["error"].where(POINTS.index > 0, 0.0)):
        row = describe_budgets(POINTS.assign(error=error), [50], draws=50, seed=0)
        product = row[row["form"] == "product"].iloc[0]
        assert 0 <= product["gamma_low"] <= product["gamma_high"] <= 1


def test_budgets_of_one_length_are_one_budget_of_the_law():
    """They differ in something else, and their points are no repeats."""
    both = [NOISY, NOISY[NOISY["budget"] == "full"].assign(budget="hot")]
    rows = describe_budgets(pd.concat(both, ignore_index=True), [50], draws=50, seed=0)
    assert rows.loc[rows["form"] == ALONE, "budget"].tolist() == ["short", "full", "hot"]
