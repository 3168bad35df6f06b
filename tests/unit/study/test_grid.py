"""Cells, the runs that serve them, and the laws of a grid."""

import pytest

from vlmscale.errors import UserError
from vlmscale.study.grid import expand_grid, list_laws, list_stage1_trainings, write_cells
from vlmscale.study.load import validate
from vlmscale.study.selection import Selection


def test_elastic_and_training_free_methods_add_cells_but_no_runs(study, tmp_path):
    cells, runs = expand_grid(study)
    assert len(cells) == 42
    assert len(runs) == 26
    served = {cell.method: cell.run for cell in cells.values() if cell.run != cell.cell}
    assert set(served) == {
        *("m3", "mqt", "prumerge", "prumerge_plus", "random", "divprune", "visionzip"),
        *("cdpruner", "tome", "fastv", "dart", "pyramiddrop", "sparsevlm", "repeat"),
        *("avgpool_free", "downsample_free"),
    }
    assert served["m3"] == "d32__m3__v36__s0"
    assert served["fastv"] == served["avgpool_free"] == "d32__mlp__v36__s0"
    assert served["repeat"] == "d32__tokenpacker__v4__s0"
    assert runs["d32__quecc__v4__s0"].visual_tokens == 4
    assert {cell.run for cell in cells.values()} == set(runs)
    write_cells(tmp_path / "cells.csv", study.study, cells.values())
    lines = (tmp_path / "cells.csv").read_text().splitlines()
    assert lines[0] == "study,cell,run,llm,method,visual_tokens,seed,budget,role"
    assert len(lines) == 1 + 42


def test_excluded_cells_are_gone_and_held_out_llms_have_their_role(raw):
    raw["exclude"] = [{"method": "quecc", "llm": "d64"}, {"visual_tokens": 9}]
    raw["laws"]["holdout"] = ["d64"]
    cells, _ = expand_grid(validate(raw, "x"))
    assert not [c for c in cells.values() if c.method == "quecc" and c.llm == "d64"]
    assert not [c for c in cells.values() if c.visual_tokens == 9]
    assert {c.role for c in cells.values() if c.llm == "d64"} == {"holdout"}


def test_a_duplicate_cell_and_an_empty_grid_are_refused(raw):
    twice = {**raw, "grid": [raw["grid"][0], raw["grid"][0]]}
    with pytest.raises(UserError, match="listed twice"):
        expand_grid(validate(twice, "x"))
    with pytest.raises(UserError, match="every cell is excluded"):
        expand_grid(validate({**raw, "exclude": [{"seed": 0}]}, "x"))


def test_runs_of_all_budgets_share_stage_1(budgets):
    cells, runs = expand_grid(validate(budgets, "x"))
    assert {"d64__tokenpacker__v9__s0", "d64__tokenpacker__v9__s0__short"} <= set(runs)
    assert cells["d32__fastv__v9__s0__long"].run == "d32__mlp__v36__s0__long"
    assert cells["d32__m3__v4__s0__short"].run == "d32__m3__v36__s0__short"
    assert runs["d32__m3__v36__s0__short"].budget == "short"
    assert len(runs) == 2 * 6 + 3 * 2 + 2 + 1
    trainings = list_stage1_trainings(runs.values())
    assert [run.stage1 for run in trainings.values()] == list(trainings)
    assert len(trainings) == 6 + 2 + 2 + 1
    assert "d32__m3__v36__s0" in trainings  # no run of it has the full budget
    assert trainings["d64__mlp__v36__s0"].llm == "d64"


def test_a_rule_that_excludes_nothing_is_refused(raw):
    raw["exclude"] = [{"visual_tokens": 9}, {"method": "quecc", "visual_tokens": 7}]
    with pytest.raises(UserError, match=r"exclude\.1: no cell of the grid matches"):
        expand_grid(validate(raw, "x"))


def test_a_budget_can_be_excluded(budgets):
    budgets["exclude"] = [{"budget": "short", "llm": "d64"}]
    kept, _ = expand_grid(validate(budgets, "x"))
    assert {c.llm for c in kept.values() if c.budget == "short"} == {"d32"}
    assert {c.llm for c in kept.values() if c.budget == "full"} == {"d32", "d64"}


def laws_of(raw):
    study = validate(raw, "x")
    return list_laws(study, expand_grid(study)[0].values())


def test_each_budget_that_determines_a_law_has_one(budgets):
    methods = ("tokenpacker", "mlp")
    assert laws_of(budgets) == {
        "packed": Selection(methods, "full"),
        "packed_short": Selection(methods, "short"),
    }  # at budget long there is one number of visual tokens


def test_a_series_that_no_budget_determines_is_refused(budgets):
    budgets["laws"]["series"] = {"few": ["m3"]}
    with pytest.raises(UserError, match=r"laws\.series\.few: no law can be fitted.*two LLMs"):
        laws_of(budgets)


def test_a_study_without_a_series_has_no_law(budgets):
    del budgets["laws"]["series"]
    assert laws_of(budgets) == {}


def test_a_series_without_cells_and_two_laws_of_one_name_are_refused(budgets):
    series = budgets["laws"]["series"]
    series["packed_short"] = ["tokenpacker"]
    with pytest.raises(UserError, match="both called packed_short"):
        laws_of(budgets)
    del series["packed_short"]
    budgets["exclude"] = [{"method": "mlp"}, {"method": "tokenpacker"}]
    budgets["laws"]["baseline"] = "quecc"
    with pytest.raises(UserError, match=r"laws\.series\.packed: `exclude` leaves none"):
        laws_of(budgets)
