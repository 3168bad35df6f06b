"""Tables of released VLMs: V as counted, and budgets that were ignored or gave nothing new."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from tests.support.cli import call_json, error_of
from vlmscale.analysis.collect import Answers
from vlmscale.analysis.collect_vlms import collect_vlms, describe_departures
from vlmscale.analysis.study import fit_study
from vlmscale.errors import UserError
from vlmscale.records.parquet import write_parquet
from vlmscale.report.explorer import write_explorer
from vlmscale.report.tables import format_methods
from vlmscale.report.visual_tokens import format_visual_tokens
from vlmscale.study.selection import Selection

MODELS = {"small": 0.5, "middle": 1.5, "large": 6.5, "other": 3.0}
BUDGETS = [64, 144, 256, 576, 1024]
BENCHMARKS = {"gqa": "reasoning", "mmbench": "reasoning", "textvqa": "ocr"}
SIZES = {
    "non_embedding": MODELS,
    "total": {name: 1.2 * n for name, n in MODELS.items()},
    "tower": dict.fromkeys(MODELS, 0.3),
}


def make_answers(cell, *, share=0.9):
    """Errors follow a law of N and the counted V, which is `share` of the budget (gqa: less)."""
    counted = {b: cell["visual_tokens"] * share * (0.8 if b == "gqa" else 1) for b in BENCHMARKS}
    error = 0.2 + 0.3 * MODELS[cell["llm"]] ** -0.3 * (cell["visual_tokens"] / 64) ** -0.2
    scores = pd.DataFrame(
        {
            "benchmark": list(BENCHMARKS),
            "family": BENCHMARKS.values(),
            "metric": "m",
            "score": 1 - error,
            "n": 50,
            "chance": 0.1,
            "unparsed": None,
            "visual_tokens": counted.values(),
            "visual_tokens_p05": [v - 2 for v in counted.values()],
            "visual_tokens_p95": [v + 2 for v in counted.values()],
            "expected_tokens": [
                cell["visual_tokens"] * 0.9 * (0.8 if b == "gqa" else 1) for b in BENCHMARKS
            ],
        }
    )
    right = np.arange(50) < 50 * (1 - error)
    samples = pd.concat(
        pd.DataFrame(
            {"benchmark": b, "id": [f"{i}" for i in range(50)], "target": "x", "score": right * 1.0}
        )
        for b in BENCHMARKS
    )
    record = {"cell": cell, "fingerprint": "now", "protocol": "lmms"}
    return Answers(record, scores, samples)


def make_cells():
    rows = [
        {
            **{"cell": f"{model}__v{budget}", "run": model, "llm": model},
            **{"method": "elsewhere" if model == "other" else "qwen3_vl"},
            **{"visual_tokens": budget, "seed": 0, "budget": "full", "role": "fit"},
        }
        for model in MODELS
        for budget in BUDGETS
    ]
    return pd.DataFrame(rows)


def collect(**shares):
    """The tables of a study, in which the counted tokens of some cells are another share of the budget."""
    cells = make_cells()
    given = cells.to_dict("records")
    answers = [make_answers(cell, share=shares.get(cell["cell"], 0.9)) for cell in given]
    prints = dict.fromkeys(cells["cell"], "now")
    return collect_vlms(cells, answers, fingerprints=prints, sizes=SIZES)


@pytest.fixture(scope="module")
def tables():
    return collect(small__v64=4.0)


def test_v_of_a_benchmark_is_its_mean_and_of_a_family_that_of_its_benchmarks(tables):
    errors = tables["errors"].set_index(["cell", "benchmark", "family"])
    mine = errors.loc["large__v144"]
    assert mine["visual_tokens"].to_dict() == {
        ("gqa", "reasoning"): 104,  # 0.9 * 0.8 * 144, in whole tokens
        ("mmbench", "reasoning"): 130,
        ("textvqa", "ocr"): 130,
        ("mean", "reasoning"): 117,
        ("mean", "ocr"): 130,
    }
    assert set(mine["asked_tokens"]) == {144}
    assert set(mine["n_params_b"]) == {6.5}
    assert set(mine["size_axis"]) == {"non_embedding"}
    assert set(mine["tower_b"]) == {0.3}


@pytest.mark.slow
def test_a_model_that_ignores_its_budget_is_named_and_in_no_law(tables):
    errors, counted = tables["errors"], tables["visual_tokens"]
    ignored = errors[errors["role"] == "ignored"]
    assert set(ignored["cell"]) == {"small__v64"}
    assert len(ignored) == 5
    lines = describe_departures(counted)
    assert len(lines) == 3
    assert lines[0].startswith(
        "small at a budget of 64 ignores it: 204.8 visual tokens on average in gqa, where its processor "
        "should make 46.1."
    )
    series = {"qwen3_vl": Selection(("qwen3_vl",))}
    laws = fit_study(errors, tables["samples"], series, [50], draws=20, seed=0)["laws"]
    assert set(laws["points"]) == {3 * 5 - 1}
    law = laws.set_index("family").loc["ocr"]
    assert (law["alpha"], law["beta"]) == pytest.approx((0.3, 0.2), rel=0.05)
    text = format_visual_tokens(counted)
    assert len(text) == 4 * 5 * 3
    row = text[(text["model"] == "small") & (text["budget"] == "64")].iloc[0].to_dict()
    assert (row["benchmark"], row["expected"], row["mean"]) == ("gqa", "46.1", "204.8")
    assert row["role"] == "ignored"


def test_a_difference_of_single_rows_of_tokens_is_none():
    assert describe_departures(collect(small__v64=0.95)["visual_tokens"]) == []


def test_a_budget_that_gives_the_same_tokens_is_no_second_point():
    cells = make_cells()
    answers = [make_answers(cell) for cell in cells.to_dict("records")]
    last = next(one for one in answers if one.record["cell"]["cell"] == "large__v1024")
    for column in ("visual_tokens", "expected_tokens"):
        last.scores[column] *= 576 / 1024
    prints = dict.fromkeys(cells["cell"], "now")
    tables = collect_vlms(cells, answers, fingerprints=prints, sizes=SIZES)
    roles = tables["errors"].groupby("cell")["role"].unique()
    assert roles["large__v1024"].tolist() == ["repeated"]
    assert roles["large__v576"].tolist() == ["fit"]
    lines = describe_departures(tables["visual_tokens"])
    assert len(lines) == 2
    assert lines[0].startswith(
        "large at a budget of 1024 gives 467 visual tokens in reasoning, as a"
    )


def test_results_of_other_code_are_refused():
    cells = make_cells()
    answers = [make_answers(cell) for cell in cells.to_dict("records")]
    prints = dict.fromkeys(cells["cell"], "later")
    with pytest.raises(UserError, match="results of evaluate_vlm were made by other code"):
        collect_vlms(cells, answers, fingerprints=prints, sizes=SIZES)


def test_scores_are_listed_by_budget(tables):
    rows = format_methods(tables["errors"], tables["chance"])
    assert len(rows) == 1 + 4 * 5
    assert set(rows["visual tokens"]) == {"", *map(str, BUDGETS)}


def test_the_explorer_counts_the_llm_alone(tables, tmp_path):
    page = tmp_path / "explorer.html"
    series = {"qwen3_vl": Selection(("qwen3_vl",))}
    write_explorer(page, "vlms", tables["errors"], series, shapes={}, tower=None, predicted={})
    text = page.read_text()
    assert "as 2 N (Q + V + G)" in text
    assert "and the vision tower" not in text
    # The scores of a benchmark stand at the point of its family's mean.
    data = json.loads(
        re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', text, re.S)[1]
    )
    points = data["laws"][0]["points"]
    assert {len(point["scores"]) for point in points} == {2}


def test_recommend_answers_within_a_family_and_without_towers(tables, tmp_path):
    file = tmp_path / "errors.parquet"
    write_parquet(file, tables["errors"], {"study": "vlms", "models": {}})
    asked = ["recommend", "--gflops", "2000", "--scores", str(file), "--family", "ocr"]
    assert "Choose one with --methods" in error_of(*asked, "--without-tower")
    one = [*asked, "--methods", "qwen3_vl"]
    assert "towers of their own" in error_of(*one)
    found = call_json(*one, "--without-tower")
    assert found["choice"]["llm"] in MODELS
    assert found["choice"]["cost"] <= 2000
