"""Laws with a training budget of a study's tables."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_budget_law
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
