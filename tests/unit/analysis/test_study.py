"""Laws with a training budget of a study's tables."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_budget_law
from tests.support.paths import RESOURCES
from vlmscale.analysis.collect import CELL_COLUMNS
from vlmscale.analysis.decisions.lifetime import Sampled
from vlmscale.analysis.study import fit_budgets
from vlmscale.errors import UserError
from vlmscale.study.selection import Selection

SAMPLED = Sampled({"short": 5e3, "full": 2e4}, 60)
SERIES = {f"ours{end}": Selection(("quecc",), b) for b, end in (("full", ""), ("short", "_short"))}


def make_errors(family="ocr"):
    points = plant_budget_law(1.2, 0.12, 0.03, 0.09, 0.1)
    points["llm"] = points["n_params_b"].map("{:g}B".format)
    points["budget"] = points["samples"].map({5e3: "short", 2e4: "full"})
    points["cell"] = points["llm"] + points["visual_tokens"].astype(str) + points["budget"]
    rng = np.random.default_rng(0)
    error = points["error"] + rng.normal(0, 0.003, len(points))
    about = {"method": "quecc", "seed": 0, "role": "fit", "family": family, "benchmark": "mean"}
    return points.drop(columns="samples").assign(**about, error=error, protocol="lmms")


def fit(errors, series=SERIES):
    return fit_budgets(errors, series, SAMPLED, [0, 50], draws=60, seed=0)


def test_every_law_of_several_budgets_has_its_rows():
    errors = pd.concat([make_errors("ocr"), make_errors("reasoning")])
    tables = fit(errors, {**SERIES, "alone": Selection(("mlp",))})
    for table in tables.values():
        assert set(table["series"]) == {"ours"}
        assert set(table["family"]) == {"ocr", "reasoning"}
    product = tables["budget_law"].query("form == 'product'")
    assert product["gamma"].to_numpy() == pytest.approx(0.09, abs=0.03)
    assert set(tables["lifetime"]["target"]) == {"0.5B", "1.8B", "4B"}


def test_held_out_llms_and_single_benchmarks_are_in_no_law():
    errors = make_errors()
    strange = errors.assign(error=0.9)
    more = [errors, strange.assign(role="holdout"), strange.assign(benchmark="field")]
    for name, table in fit(pd.concat(more)).items():
        pd.testing.assert_frame_equal(table, fit(errors)[name])


def test_a_law_that_points_do_not_determine_is_named():
    errors = make_errors()
    with pytest.raises(UserError, match=r"law of budgets ours, ocr: .*same visual_tokens"):
        fit(errors[errors["visual_tokens"] == 1])


def test_the_page_of_the_default_study_has_its_numbers():
    """From the scores kept of it: exponents in docs/mini-study.md, and whose training is cheapest."""
    scores = pd.read_csv(RESOURCES / "reference/mini/scores.csv")
    cells = [*CELL_COLUMNS, "family", "parameters"]
    means = scores.groupby(cells, sort=False)["score"].mean().reset_index()
    errors = means.assign(
        benchmark="mean", error=1 - means["score"], n_params_b=means["parameters"] / 1e9
    )
    methods = ("tokenpacker", "mlp")
    series = {"t": Selection(methods), "t_short": Selection(methods, "short")}
    sampled = Sampled({"full": 14_400, "short": 4_800}, 64)
    tables = fit_budgets(errors, series, sampled, [50], draws=2000, seed=0)
    forms = tables["budget_law"].query("budget == 'all'").set_index(["family", "form"])
    product = forms.xs("product", level="form")
    ends = product[["gamma", "gamma_low", "gamma_high"]].round(2).to_numpy().tolist()
    assert dict(zip(product.index, ends, strict=True)) == {
        "reasoning": [0.17, 0.14, 0.76],
        "ocr": [0.17, 0.09, 0.31],
    }
    assert (product[["alpha_low", "beta_low"]] == 0).all(axis=None)
    assert (product["aicc"] - forms["aicc"].groupby("family").min() > 7).all()
    longer = tables["lifetime"].query("beyond == 10")
    assert set(longer["llm"]) == {"d20"}
