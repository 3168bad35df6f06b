"""A study's tables from what its cells and trainings have left."""

import pandas as pd
import pytest

from vlmscale.analysis.collect import CELL_COLUMNS, Answers, collect, read_answers, tabulate_errors
from vlmscale.errors import UserError
from vlmscale.records.parquet import write_parquet

RUNS = {"a__mlp": "a", "b__mlp": "b"}


PARAMETERS = {"a": 2e9, "b": 4e9}


MARKS = {
    "train_stage1": dict.fromkeys(RUNS, "one"),
    "train_stage2": dict.fromkeys(RUNS, "two"),
    "evaluate_cell": dict.fromkeys(RUNS, "three"),
}


@pytest.fixture
def left():
    """The arguments of `collect` for two cells of two questions each."""
    cells = pd.DataFrame(
        [(run, run, llm, "mlp", 4, 0, "full", "fit") for run, llm in RUNS.items()],
        columns=CELL_COLUMNS,
    )
    scores = {"benchmark": ["attr"], "family": ["reasoning"], "metric": ["accuracy"]}
    answers = [
        Answers(
            {"cell": {"cell": run}, "fingerprint": "three", "protocol": "lmms"},
            pd.DataFrame({**scores, "score": [score], "n": [2], "unparsed": [0], "chance": [None]}),
            pd.DataFrame(
                {"benchmark": "attr", "id": ["1", "2"], "score": [1.0, 0.0], "target": ["x", "x"]}
            ),
        )
        for run, score in zip(RUNS, (0.25, 0.75), strict=True)
    ]
    spent = dict.fromkeys(["tokens", "seconds", "tokens_per_second", "peak_memory_bytes"], 1)
    spent |= dict.fromkeys(["attempts", "processes", "gpu_hours", "trained_parameters"], 1)
    trainings = [
        {
            "kind": kind,
            "run": run,
            "fingerprint": mark,
            "steps": 3,
            "device": "cpu",
            "losses": [[3, 0.5]],
            "llm_parameters": PARAMETERS[llm],
            "llm_parameters_non_embedding": PARAMETERS[llm] / 2,
            **spent,
        }
        for kind, mark in (("stage1", "one"), ("stage2", "two"))
        for run, llm in RUNS.items()
    ]
    return {
        "cells": cells,
        "answers": answers,
        "trainings": trainings,
        "fingerprints": MARKS,
        "nominal": {},
        "axis": "total",
    }


def test_the_tables_of_a_study(left):
    tables = collect(**left)
    assert list(tables) == ["errors", "samples", "chance", "trainings"]
    attr = tables["errors"].query("benchmark == 'attr'").set_index("llm")
    assert attr["error"].to_dict() == {"a": 0.75, "b": 0.25}
    assert attr["n_params_b"].to_dict() == {"a": 2, "b": 4}
    assert attr["non_embedding_b"].to_dict() == {"a": 1, "b": 2}
    assert "nominal_b" not in attr
    assert len(tables["samples"]) == 4
    assert tables["chance"].to_dict("records") == [{"benchmark": "attr", "chance": 1.0}]
    assert tables["trainings"][["run", "stage"]].values.tolist() == [
        [run, stage] for stage in ("stage1", "stage2") for run in RUNS
    ]


def test_a_released_llm_is_as_large_as_its_name_says(left):
    errors = collect(**{**left, "nominal": {"a": 1.8, "b": 7}, "axis": "nominal"})["errors"]
    assert errors.groupby("llm")["n_params_b"].first().to_dict() == {"a": 1.8, "b": 7}
    assert errors.groupby("llm")["total_b"].first().to_dict() == {"a": 2, "b": 4}


@pytest.mark.parametrize("rule", MARKS)
def test_results_of_other_code_are_refused_by_the_rule_that_makes_them(left, rule):
    changed = {**MARKS, rule: {**MARKS[rule], "b__mlp": "new"}}
    with pytest.raises(UserError, match=rf"results of {rule} .*: b__mlp\. .*--forcerun {rule}"):
        collect(**{**left, "fingerprints": changed})


def tables(names):
    """Cells by name with the scores of one benchmark, as collect gives them to tabulate_errors."""
    rows = [(f"c__{name}", "c", "small", "mlp", 4, 0, name, "fit") for name in names]
    cells = pd.DataFrame(rows, columns=CELL_COLUMNS)
    score = {"benchmark": ["a"], "family": ["ocr"], "metric": ["m"], "score": [0.25], "n": [8]}
    scores = {cell: pd.DataFrame({**score, "unparsed": [0.5]}) for cell in cells["cell"]}
    return cells, scores


SIZES = {"total": {"small": 2.0}, "non_embedding": {"small": 0.5}}


def test_the_errors_table_names_the_budget_of_each_cell():
    cells, scores = tables(["full", "short"])
    protocols = dict.fromkeys(scores, "lmms")
    table = tabulate_errors(cells, scores, SIZES, axis="total", protocols=protocols)
    assert table["budget"].tolist() == ["full", "full", "short", "short"]
    assert table["cell"].tolist() == [f"c__{budget}" for budget in table["budget"]]
    assert set(table["protocol"]) == {"lmms"}
    # the mean of benchmarks has no share of its own
    assert table["unparsed"].fillna(-1).tolist() == [0.5, -1, 0.5, -1]


@pytest.mark.parametrize("axis", SIZES)
def test_n_is_the_chosen_axis_and_the_others_are_kept(axis):
    cells, scores = tables(["full"])
    table = tabulate_errors(cells, scores, SIZES, axis=axis, protocols={"c__full": "lmms"})
    assert set(table["n_params_b"]) == set(SIZES[axis].values())
    assert set(table["size_axis"]) == {axis}
    assert (table[["total_b", "non_embedding_b"]] == [2.0, 0.5]).all(axis=None)


def test_cells_of_two_protocols_are_not_joined():
    cells, scores = tables(["full", "short"])
    two = {"c__full": "lmms", "c__short": "llava15"}
    with pytest.raises(UserError, match=r"protocols lmms and llava15 meet.*evaluation\.protocol"):
        tabulate_errors(cells, scores, SIZES, axis="total", protocols=two)


def test_scores_and_answers_of_two_evaluations_are_refused(tmp_path):
    frame = pd.DataFrame({"score": [1.0]})
    for cell in "ab":
        for name in ("scores", "samples"):
            record = {"cell": {"cell": cell}, "fingerprint": "f", "protocol": "lmms"}
            write_parquet(tmp_path / f"{cell}_{name}.parquet", frame, record)
    scores, samples = tmp_path / "a_scores.parquet", tmp_path / "a_samples.parquet"
    assert read_answers(scores, samples).record["cell"] == {"cell": "a"}
    with pytest.raises(
        UserError, match=r"b_samples\.parquet are not of one evaluation. Delete both"
    ):
        read_answers(scores, tmp_path / "b_samples.parquet")
