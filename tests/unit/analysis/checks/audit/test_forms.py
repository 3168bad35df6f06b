"""The threshold for the form of the law is what a true product law exceeds in one of twenty tables."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_law, read_scores
from vlmscale.analysis.checks.audit.forms import ALLOWED, OFFSETS, simulate_excess
from vlmscale.analysis.laws.forms import compare_forms, exceed_best_form
from vlmscale.records.parquet import read_provenance
from vlmscale.resources import find_resource

REASONING = read_scores("reasoning_scores")
KEPT = find_resource("measured") / "form_excess.parquet"


@pytest.mark.parametrize(
    ("error", "low", "high"),
    [
        (lambda p: p["error"], -1e-9, 1e-9),
        (
            lambda p: 0.6 - 0.03 * np.log(p["n_params_b"]) - 0.01 * np.log(p["visual_tokens"]),
            50,
            1e4,
        ),
    ],
)
def test_the_excess_says_which_form_is_right(error, low, high):
    points = plant_law(0.5, 0.3, 0.2, 0.1)
    noise = 1e-4 * np.random.default_rng(0).normal(size=len(points))
    assert low <= exceed_best_form(points.assign(error=error(points) + noise)) <= high


def test_the_excess_is_that_of_the_table_of_forms():
    aicc = compare_forms(REASONING).set_index("form")["aicc"]
    assert exceed_best_form(REASONING) == pytest.approx(aicc["product, D"] - aicc.min())


def test_a_true_law_is_often_behind_and_the_same_seed_gives_the_same_tables():
    found = simulate_excess(REASONING, offset=0.0, tables=12, seed=0)
    assert (found >= 0).all()
    assert 0 < np.median(found) < exceed_best_form(REASONING)
    np.testing.assert_array_equal(
        found[:3], simulate_excess(REASONING, offset=0.0, tables=3, seed=0)
    )


def test_the_claim_has_the_simulated_threshold():
    kept = pd.read_parquet(KEPT).set_index(["family", "offset"])
    assert set(kept.index) == {(f, o) for f in ("ocr", "reasoning") for o in OFFSETS}
    claims = pd.read_csv(find_resource("published") / "claims.csv").set_index("id")
    threshold = kept.loc[("reasoning", ALLOWED), "q95"]
    assert claims.loc["C05", "paper_high"] == pytest.approx(threshold, abs=0.05)
    for family in ("ocr", "reasoning"):
        released = exceed_best_form(read_scores(f"{family}_scores"))
        assert kept.loc[(family, ALLOWED), "released"] == pytest.approx(released)
    assert read_provenance(KEPT)["tables"] >= 200
