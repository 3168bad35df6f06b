"""Hypotheses on methods side by side are decided as their rules say."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.support.hypotheses import LAW, ask, cells, comparison, only, results, with_paired
from vlmscale.errors import UserError

pytestmark = pytest.mark.slow
BETTER, WORSE, UNLIKE = (0.03, 0.031, 0.029), (-0.03, -0.031, -0.029), (0.07, -0.03, 0.05)


@pytest.mark.parametrize(
    ("by_llm", "better", "no_better"),
    [
        (BETTER, "supported", "contradicted"),
        (WORSE, "contradicted", "supported"),
        (UNLIKE, "undecided", "undecided"),
    ],
)
def test_methods_side_by_side(by_llm, better, no_better):
    misleading = np.negative(by_llm)
    noise = [
        comparison("quecc", *misleading, visual_tokens=4),
        comparison("quecc", *misleading, benchmark="attr"),
        comparison("quecc", *misleading, baseline="mlp"),
        comparison("quecc", *misleading, budget="short"),
        comparison("quecc", *misleading, family="ocr"),
    ]
    named = [comparison(method, *by_llm) for method in ("quecc", "avgpool", "random")]
    found = ask(with_paired(*noise, *named))
    row = only(found, "H5")
    assert row["verdict"] == better
    # Variances of questions and of LLMs are added; there are three LLMs.
    error = np.sqrt(0.002**2 + np.var(by_llm, ddof=1) / 3)
    mean, reach = np.mean(by_llm), stats.t.ppf(0.975, 2) * error
    assert (row["value"], row["low"], row["high"]) == pytest.approx(
        (mean, mean - reach, mean + reach)
    )
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(mean) / error, 2))
    seventh = found[found["id"] == "H7"]
    assert seventh["verdict"].tolist() == [no_better] * 2
    assert seventh["hypothesis"].tolist() == [
        f"{method} answers no better than tokenpacker at V = 1" for method in ("avgpool", "random")
    ]


def test_one_run_a_side_decides_nothing():
    """However sure its questions make it: another training might differ."""
    row = only(ask(with_paired(comparison("quecc", 0.3, error=0.001))), "H5")
    assert (row["verdict"], row["value"]) == ("undecided", 0.3)
    assert np.isnan(row["p"])
    assert "one run a side" in row["note"]
    several = comparison("quecc", 0.3, error=0.001, seeds=3)
    row = only(ask(with_paired(several)), "H5")
    error = 0.001 * np.sqrt(3 / 2)
    assert row["low"] == pytest.approx(0.3 - stats.t.ppf(0.975, 2) * error)
    assert row["verdict"] == "supported"


def test_a_row_for_each_count_and_for_each_llm_that_is_not_pooled():
    rows = [
        comparison("random", 0.015, visual_tokens=16),
        comparison("random", -0.02, -0.01, visual_tokens=4),
    ]
    found = ask(with_paired(*rows)).query("id == 'H7'")
    assert found["value"].tolist()[1:] == pytest.approx([-0.015, 0.015])
    assert found["note"].tolist()[1:] == [
        "mean of 2 LLMs, 2 pairs of runs, 9 questions",
        "LLM l0, 1 pairs of runs, 9 questions; one run a side does not tell how much runs differ",
    ]


def with_repeat(gains):
    """gains: by benchmark the difference of each question; the cell at 16 tokens must not matter."""
    tables = results(cells(LAW, sizes={"s": 0.5, "m": 1.8}))
    made = []
    for llm in ("s", "m"):
        run = f"{llm}-v4-full"
        for v in (8, 16):
            row = {"cell": f"{llm}-repeat-v{v}", "run": run, "method": "repeat", "visual_tokens": v}
            made.append({**tables["errors"][tables["errors"]["cell"] == run].iloc[0], **row})
    errors = pd.concat([tables["errors"], pd.DataFrame(made)], ignore_index=True)
    samples = []
    for benchmark, each in gains.items():
        for cell, method, v in errors[["cell", "method", "visual_tokens"]].itertuples(index=False):
            scores = 0.5 + np.asarray(each) * (method == "repeat")
            if method == "tokenpacker" and v != 4:
                scores = scores * 0
            about = {"cell": cell, "family": "reasoning", "benchmark": benchmark}
            samples += [{**about, "id": i, "score": s} for i, s in enumerate(scores)]
    return {**tables, "errors": errors, "samples": pd.DataFrame(samples)}


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({"a": [0.0] * 5, "b": [0.01] * 9}, "supported"),
        ({"a": [0.03] * 5, "b": [0.008] * 9}, "supported"),
        ({"a": [0.04] * 5, "b": [0.002] * 9}, "contradicted"),
        ({"a": [-0.1] * 5, "b": [0.0] * 9}, "contradicted"),
        ({"a": [0.4, -0.4, 0.4, -0.4], "b": [0.0] * 9}, "undecided"),
    ],
)
def test_repetition(gains, verdict):
    tables = with_repeat(gains)
    row = only(ask(tables), "H6")
    assert row["verdict"] == verdict
    assert row["value"] == pytest.approx(np.mean([np.mean(g) for g in gains.values()]))
    assert row["low"] <= row["value"] <= row["high"]
    assert row["note"] == "4 cells of 2 LLMs"
    assert only(ask(tables, seed=0), "H6") == row
    if verdict == "undecided":
        # four coins of 0.4, halved twice: the mean of a benchmark of four, over two benchmarks
        reach = stats.t.ppf(0.975, 1) * 0.1
        assert (row["low"], row["high"]) == pytest.approx((-reach, reach), rel=0.1)


def test_llms_that_repetition_serves_differently_decide_nothing():
    tables = with_repeat({"a": [0.0] * 40})
    helped = tables["samples"]["cell"].str.startswith("s-repeat")
    samples = tables["samples"].assign(score=tables["samples"]["score"] + 0.03 * helped)
    row = only(ask({**tables, "samples": samples}), "H6")
    assert (row["verdict"], row["value"]) == ("undecided", pytest.approx(0.015))
    assert row["high"] - row["value"] == pytest.approx(stats.t.ppf(0.975, 1) * 0.015)


def test_repetition_with_a_run_of_its_own_is_another_question():
    tables = with_repeat({"a": [0.0] * 5})
    repeat = tables["errors"]["method"] == "repeat"
    errors = tables["errors"].assign(
        run=tables["errors"]["run"].mask(repeat, tables["errors"]["cell"])
    )
    assert only(ask({**tables, "errors": errors}), "H6")["verdict"] == "not tested"
    lacking = tables["samples"].drop(
        tables["samples"].query("cell == 's-repeat-v8' and id == 2").index
    )
    with pytest.raises(UserError, match="samples of a: cell s-repeat-v8 lacks"):
        ask({**tables, "samples": lacking})


def test_a_study_with_another_baseline_says_that_it_is_the_reason():
    rows = [comparison("quecc", 1, 2, baseline="mlp"), comparison("avgpool", 1, 2, baseline="mlp")]
    found = ask(with_paired(*rows))
    for note in found[found["id"].isin(["H5", "H7"])]["note"]:
        assert note == "the study compares with mlp; set laws.baseline to tokenpacker"
