"""A study's tables from what its cells and trainings have left."""

import pandas as pd
import pytest

from vlmscale.analysis.collect import CELL_COLUMNS, Answers, collect
from vlmscale.errors import UserError

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
