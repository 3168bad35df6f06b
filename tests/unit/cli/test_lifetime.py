"""vlmscale lifetime: what a table must hold, whose samples count, and the cheapest LLM."""

import numpy as np
import pandas as pd
import pytest

import vlmscale as vs
from tests.support.cli import call, call_json, error_of, usage_error_of, write_csv
from tests.support.laws import plant_budget_law
from vlmscale.errors import UserError
from vlmscale.records.parquet import write_parquet

RNG = np.random.default_rng(0)
POINTS = plant_budget_law(1.2, 0.12, 0.03, 0.09, 0.1)
POINTS["score"] = 1 - POINTS.pop("error") + RNG.normal(0, 0.003, len(POINTS))
BUDGETS = {"short": 5e3, "full": 2e4}
BY_NAME = POINTS.drop(columns="samples").assign(
    budget=POINTS["samples"].map({samples: name for name, samples in BUDGETS.items()})
)


def test_a_table_with_samples(tmp_path):
    report = call_json("lifetime", write_csv(tmp_path, POINTS), "--answers", "0", "--answers", 1e6)
    law = next(row for row in report["laws"] if row["form"] == "product")
    assert law["gamma_low"] <= 0.09 <= law["gamma_high"]
    assert report["sampled"]["by_budget"] == {"5000": 5e3, "20000": 2e4}
    assert {row["answers"] for row in report["answers"]} == {0, 1e6}
    for row in report["answers"]:
        end = np.inf if row["answers_to"] is None else row["answers_to"]
        assert row["answers_from"] <= row["answers"] < end
    assert (
        len(report["answers"]) == 2 * 3 * 2
    )  # numbers of answers, LLMs whose best is reached, trainings


def test_budgets_by_name_give_the_same(tmp_path):
    plain = call_json("lifetime", write_csv(tmp_path, POINTS))
    named = call_json(
        "lifetime", write_csv(tmp_path, BY_NAME, "named.csv"), "--budgets", "short=5000,full=2e4"
    )
    assert named["choices"] == plain["choices"]


def test_a_study_knows_its_samples(tmp_path):
    sampled = {"by_budget": BUDGETS, "text_tokens": 30.0, "image_share": 0.5}
    BY_NAME.to_parquet(tmp_path / "errors.parquet")
    assert "not known" in error_of("lifetime", tmp_path / "errors.parquet")
    write_parquet(
        tmp_path / "budget_law.parquet", pd.DataFrame({"form": ["product"]}), {"sampled": sampled}
    )
    report = call_json("lifetime", tmp_path / "errors.parquet")
    assert report["sampled"] == sampled
    other = call_json("lifetime", tmp_path / "errors.parquet", "--training-text-tokens", 60)
    assert other["sampled"] == {**sampled, "text_tokens": 60.0}


def test_one_error(tmp_path):
    report = call_json("lifetime", write_csv(tmp_path, POINTS), "--error", 0.5)
    assert {row["target_error"] for row in report["choices"]} == {0.5}
    text = call("lifetime", write_csv(tmp_path, POINTS), "--error", 0.5, "--answers", 1e6)
    (row,) = [
        row
        for row in report["choices"]
        if row["beyond"] == 1 and row["answers_from"] <= 1e6 < (row["answers_to"] or np.inf)
    ]
    assert f"1e+06 answers at error 0.5000, training as measured: {row['llm']} with V" in text
    assert "gamma 0.0" in text


def test_without_text_there_is_no_best_v(tmp_path):
    assert "Best V" not in call("lifetime", write_csv(tmp_path, POINTS), "--text-tokens", 0)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, ("--error", 0.01), "no LLM of the table reaches an error of 0.01"),
        ({"samples": 5e3, "seed": range(len(POINTS))}, (), "one training budget"),
        ({"samples": "many"}, (), "must hold numbers"),
        ({}, ("--family", "ocr"), "no points of family 'ocr'"),
        ({"method": ["a", "b"] * (len(POINTS) // 2)}, (), "several methods"),
    ],
)
def test_refusals(tmp_path, change, options, words):
    family = {"family": ["x", "y"] * (len(POINTS) // 2)} if "--family" in options else {}
    path = write_csv(tmp_path, POINTS.assign(**change, **family))
    assert words in " ".join(error_of("lifetime", path, *options).split())


def test_a_table_without_budgets_is_refused():
    with pytest.raises(UserError, match="neither a column 'samples'"):
        vs.compare_lifetimes(POINTS.drop(columns="samples"))


def test_few_points_are_refused():
    few = POINTS.query("n_params_b in (0.5, 7) and visual_tokens in (1, 4)").iloc[:7]
    with pytest.raises(UserError, match="7 points are too few"):
        vs.compare_lifetimes(few)


@pytest.mark.parametrize("text", ["short", "short=many", "short=-1", "short=inf"])
def test_wrong_budgets(tmp_path, text):
    path = write_csv(tmp_path, BY_NAME)
    assert "--budgets" in usage_error_of("lifetime", path, "--budgets", text)
