"""vlmscale fit: reference laws, and one clear error for points that cannot be fitted."""

import numpy as np
import pandas as pd
import pytest

from tests.support.cli import REASONING, call, call_json, error_of, write_csv
from tests.support.laws import plant_law


@pytest.fixture(scope="module")
def fitted():
    return call_json("fit", REASONING, "--draws", 200, "--text-tokens", "0,50")["fits"][0]


def test_fit_of_the_released_scores(fitted):
    law = fitted["law"]
    found = [law[name] for name in ("amplitude", "alpha", "beta", "ratio")]
    assert found == pytest.approx([0.5908, 0.07094, 0.01510, 4.697], rel=3e-4)
    assert law["floor_bound"] == "lower"
    shares = [row["low"] for row in fitted["intervals"] if row["quantity"] == "share_floor_0"]
    at_zero = shares[0]  # of the first scheme, the posterior
    assert 0.6 < at_zero < 0.8
    assert fitted["notes"] == [
        "D lies at its lower bound, 0. alpha and beta hold for this D only, their ratio hardly depends "
        "on it.",
        f"D = 0 in {at_zero:.0%} of draws; its prior is one half.",
    ]
    errors = {row["quantity"]: row["standard_error"] for row in fitted["standard_errors"]}
    assert errors["ratio"] == pytest.approx(0.232, rel=5e-3)
    # one row a cell: there are no repeats to resample
    schemes = {"hierarchical", "cases", "residual", "wild", "sizes"}
    assert {row["scheme"] for row in fitted["intervals"]} == schemes


def test_best_tokens_of_the_released_scores(fitted):
    none, fifty = fitted["optimal_tokens"]
    assert none["tokens"] == 1
    assert fifty["tokens"] == pytest.approx(13.52, abs=0.01)
    assert (fifty["flat_low"], fifty["flat_high"]) == pytest.approx((2.98, 43.9), abs=0.05)
    assert fifty["interval_scheme"] == "hierarchical"
    assert fifty["low"] < fifty["tokens"] < fifty["high"]


def test_forms_of_the_released_scores(fitted):
    assert fitted["forms"][0]["form"] == "logit-linear"
    assert fitted["forms"][0]["aicc"] == pytest.approx(-313.0, abs=0.1)


def test_prints_law_errors_intervals_and_forms():
    text = call("fit", REASONING, "--draws", 50)
    for words in (
        "error = 0.5908 N^-0.07094 V^-0.0151 + 0",
        "N is column n_params_b as given",
        "Asymptotic errors",
        "of the hierarchical model",
        "logit-linear",
    ):
        assert words in text


@pytest.mark.slow
def test_families_are_fitted_apart_and_methods_chosen(tmp_path, scores):
    both = [scores.assign(family=f, method=m) for f in ("a", "b") for m in ("x", "y")]
    path = tmp_path / "errors.parquet"
    table = pd.concat(both).assign(benchmark="mean", role="fit", size_axis="nominal")
    table["budget"] = "full"
    # neither single benchmarks nor held-out LLMs nor other budgets belong to a law
    other = table.assign(score=0.0)
    for change in ({"benchmark": "pope"}, {"role": "holdout"}, {"budget": "short"}):
        table = pd.concat([table, other.assign(**change)])
    table.to_parquet(path)
    pooled, _ = call_json("fit", path, "--draws", 0)["fits"]
    assert pooled["points"] == 56
    assert pooled["notes"][-1] == "One law for x, y together; choose with --methods."
    fits = call_json("fit", path, "--draws", 0, "--methods", "x")["fits"]
    assert [fit["family"] for fit in fits] == ["a", "b"]
    for fit in fits:
        assert fit["points"] == 28
        assert fit["law"]["ratio"] == pytest.approx(4.697, rel=1e-3)
        assert "nominal" in fit["size_axis"]
        assert fit["intervals"] == []


@pytest.mark.slow
def test_other_losses_and_searches():
    def law(*arguments):
        fit = call_json("fit", REASONING, "--draws", 0, *arguments)["fits"][0]
        return fit["law"], " ".join(fit["notes"])

    assert law("--floor", 0.1)[0]["alpha"] == pytest.approx(0.08699, rel=3e-4)
    assert law("--weights", "relative")[0]["ratio"] == pytest.approx(4.634, rel=1e-3)
    assert law("--loss", "huber")[0]["beta"] == pytest.approx(0.01579, rel=3e-3)
    found, notes = law("--search", "released-grid")
    assert (found["alpha"], found["beta"]) == pytest.approx((0.0747475, 0.0161616), rel=1e-5)
    assert "5,000,000 nodes" in notes
    assert "4.5% above that of least squares" in notes


def test_points_without_a_miss(tmp_path, scores):
    error = 0.5 * scores["n_params_b"] ** -0.1 * scores["visual_tokens"] ** -0.02
    path = write_csv(tmp_path, scores.assign(error=error).drop(columns="score"))
    assert call_json("fit", path, "--draws", 0)["fits"][0]["law"]["ratio"] == pytest.approx(5)


def test_four_points_give_a_law_without_intervals(tmp_path, scores):
    path = write_csv(tmp_path, scores.iloc[[0, 6, 21, 27]])
    fit = call_json("fit", path)["fits"][0]
    assert fit["intervals"] == []
    assert fit["standard_errors"] is None


def test_a_method_or_floor_that_does_not_fit():
    assert "no points of method 'x'" in error_of("fit", REASONING, "--methods", "x")
    assert "--floor 0.9 is above the smallest error" in error_of("fit", REASONING, "--floor", 0.9)


def test_an_estimate_outside_its_interval_is_said(tmp_path):
    points = plant_law(0.6, 0.08, 0.02, 0.0)
    rng = np.random.default_rng(13)
    own = dict(zip(points["n_params_b"].unique(), rng.normal(0, 0.004, 4), strict=True))
    points["error"] += points["n_params_b"].map(own) + rng.normal(0, 0.004, len(points))
    text = call("fit", write_csv(tmp_path, points), "--draws", 1000)
    assert "Least squares lies outside the interval of alpha, beta, floor" in text
    assert "outside the interval" not in call("fit", REASONING, "--draws", 300)
