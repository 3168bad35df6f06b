"""Verdicts on all hypotheses of a study: the correction, what cannot be tested, and the table."""

import numpy as np
import pandas as pd
import pytest

from tests.support.hypotheses import LAW, ask, cells, results
from vlmscale.analysis.checks.hypotheses.decide import COLUMNS, decide_by_holm
from vlmscale.analysis.comparisons.paired import adjust_by_holm
from vlmscale.errors import UserError
from vlmscale.report.format import write_table
from vlmscale.report.tables import format_table

pytestmark = pytest.mark.slow


def test_holms_correction_is_over_all_hypotheses_of_a_study():
    p = [0.001, 0.02, 0.04, 0.6, np.nan, np.nan]
    rows = pd.DataFrame({"p_for": p, "p_against": [1.0] * 4 + [np.nan] * 2, "note": "n"})
    found = decide_by_holm(rows.assign(value=[1.0] * 5 + [np.nan]))
    assert found["p_holm"].tolist()[:4] == pytest.approx(adjust_by_holm(p[:4]).tolist())
    assert found["verdict"].tolist() == ["supported", *["undecided"] * 4, "not tested"]
    alone = "n; alone supported, not after Holm's correction"
    assert found["note"].tolist() == ["n", alone, alone, "n", "n", "n"]
    against = decide_by_holm(
        rows.rename(columns={"p_for": "p_against", "p_against": "p_for"}).assign(value=1)
    )
    assert against["verdict"].tolist()[0] == "contradicted"


def test_what_a_study_cannot_test_says_why():
    table = ask(results(cells(LAW, sizes={"s": 0.5, "m": 1.8})))
    assert list(table.columns) == COLUMNS
    untested = table[table["verdict"] == "not tested"]
    assert untested["id"].tolist() == ["H2", "H3", "H5", "H6", "H7", "H7", "H8"]
    assert untested[["value", "low", "high"]].isna().all(axis=None)
    notes = untested.drop_duplicates("id").set_index("id")["note"]
    for name, words in {
        "H2": "no cells for a law of ocr",
        "H3": "holds out no LLM",
        "H5": "not compared at 1 visual token",
        "H6": "no cell of repeat shares its run",
        "H7": "avgpool and tokenpacker were compared at no number",
        "H8": "leaving an LLM out needs three",
    }.items():
        assert words in notes[name]


def test_a_study_without_a_law_is_asked_about_methods_alone():
    tables = results(cells(LAW))
    found = ask({name: tables[name] for name in ("errors", "samples", "paired")}, series={})
    assert list(found.columns) == COLUMNS
    assert found["id"].tolist() == ["H5", "H6", "H7", "H7"]


def test_tables_that_do_not_belong_together():
    tables = results(cells(LAW))
    with pytest.raises(UserError, match="table errors: column 'budget' is missing"):
        ask({**tables, "errors": tables["errors"].drop(columns="budget")})
    for name in ("laws", "draws"):
        with pytest.raises(UserError, match=r"law tokenpacker, reasoning: .*fit again"):
            ask({**tables, name: tables[name].iloc[:0]})


def test_verdicts_for_people(tmp_path):
    table = ask(results(cells(LAW)))
    people = format_table("verdicts", table)
    value = people.set_index("id").loc["H1", "value"]
    assert value.startswith("0.160 [")
    write_table(people, tmp_path / "v.md", tmp_path / "v.tex")
    assert len((tmp_path / "v.md").read_text().splitlines()) == len(table) + 4  # with a signature
    assert (tmp_path / "v.tex").read_text().count(r"\\") == len(table) + 1
