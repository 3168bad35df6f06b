"""The table of faults has a row for every drill and no other, and each needs one command at most."""

import ast

import pytest

from tests.support.drills import TABLE, Cost, check, read_rows
from tests.support.paths import ROOT


def list_faults():
    """The argument of every call of cost_of in the tests."""
    return [
        ast.literal_eval(node.args[0])
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "cost_of"
    ]


def test_every_drill_has_a_row():
    assert sorted(list_faults()) == list(read_rows())


def test_no_fault_needs_more_than_one_command():
    assert {cost.fault for cost in read_rows().values() if cost.commands > 1} == set()


@pytest.mark.parametrize(
    "change", [{"lost": 5}, {"commands": 2}, {"unit": "hours"}, {"cure": "rm"}, {"first": "pray"}]
)
def test_what_is_measured_otherwise_fails(change, monkeypatch):
    monkeypatch.delenv("WRITE_DRILLS", raising=False)
    row = next(iter(read_rows().values()))
    check(row)
    with pytest.raises(AssertionError, match="see tests/support/drills"):
        check(Cost(**{**vars(row), **change}))
    with pytest.raises(AssertionError):
        check(Cost("a fault without a row"))
    assert TABLE.exists()


def test_a_loss_beyond_its_bound_fails():
    with pytest.raises(AssertionError, match="5 steps lost, at most 4 may be"):
        Cost("x").lose(5, "steps", at_most=4)
