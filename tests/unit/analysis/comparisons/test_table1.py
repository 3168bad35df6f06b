"""Table 1 of the paper: gaps closed, ranks and wins, recomputed from its printed cells."""

import pandas as pd
import pytest

from tests.support.paths import RESOURCES
from vlmscale.analysis.comparisons.table1 import count_wins, measure_gaps, pivot_scores
from vlmscale.errors import UserError

TABLE = pd.read_csv(RESOURCES / "published/table1.csv")


def without(table, method, group):
    return table[~((table["method"] == method) & (table["group"] == group))]


def closed(table, group, benchmark):
    found = measure_gaps(table, method="QueCC").set_index(["group", "benchmark"])
    return found.loc[(group, benchmark)]


@pytest.mark.parametrize(
    ("group", "benchmark", "rival", "percent"),
    [
        (1, "MME", "TokenPacker", 2.70),
        (1, "MMB", "MatryoshkaMulti", -2.08),
        (4, "MME", "TokenPacker", 26.18),
        (4, "MMB", "TokenPacker", 21.43),
    ],
)
def test_gap_closed(group, benchmark, rival, percent):
    row = closed(TABLE, group, benchmark)
    assert row["rival"] == rival
    assert row["gap_closed_percent"] == pytest.approx(percent, abs=0.005)


def test_gap_closed_against_tokenpacker():
    row = closed(without(TABLE, "MatryoshkaMulti", 1), 1, "MMB")
    assert row["rival"] == "TokenPacker"
    assert row["gap_closed_percent"] == pytest.approx(12.5)


def test_gap_closed_against_two_tokens():
    row = closed(without(TABLE, "TokenPacker", 1), 1, "MME")
    assert row["rival"] == "MatryoshkaQuery"
    assert row["gap_closed_percent"] == pytest.approx(34.1, abs=0.05)


def test_gap_is_missing_where_the_rival_is_not_below_the_reference():
    found = measure_gaps(TABLE, method="QueCC")
    assert len(found) == 32
    ahead = found["rival_score"] >= found["reference_score"]
    assert (found["gap_closed_percent"].isna() == ahead).all()
    assert ahead.sum() == 7


def test_firsts():
    found = measure_gaps(TABLE, method="QueCC").assign(first=lambda t: t["rank"] == 1)
    firsts = found.groupby("group")["first"].sum()
    assert firsts[1] == firsts[4] == 6
    few = found[found["group"].isin([1, 4]) & found["first"]]
    assert ((few["score"] - few["rival_score"]).round(1) == 0.1).sum() == 4
    four = found[found["benchmark"].isin(["GQA", "MME", "SQA", "VQAv2"])]
    assert four["first"].sum() == 14
    rest = four[~four["first"]].set_index(["group", "benchmark"])["rank"]
    assert rest.to_dict() == {(36, "SQA"): 2, (16, "MME"): 2}


def test_ties_share_the_better_rank_and_the_first_rival_is_named():
    table = TABLE.assign(score=TABLE["score"].where(TABLE["benchmark"] != "GQA", 50.0))
    row = closed(table, 36, "GQA")
    assert (row["rank"], row["rival"]) == (1, "PruMerge")
    assert pd.isna(row["gap_closed_percent"])


def test_no_rival():
    alone = TABLE[TABLE["method"].isin(["QueCC", "LLaVA-1.5"])]
    found = measure_gaps(alone, method="QueCC")
    assert len(found) == 32
    assert (found["rank"] == 1).all()
    assert found["rival"].isna().all()
    assert found["gap_closed_percent"].isna().all()


def test_another_method():
    found = measure_gaps(TABLE, method="TokenPacker").set_index(["group", "benchmark"])
    assert found.loc[(36, "SQA"), "rank"] == 1
    assert found.loc[(36, "SQA"), "rival"] == "QueCC"


def test_wide_is_the_printed_layout():
    found = pivot_scores(TABLE)
    benchmarks = ["GQA", "MMB", "MME", "POPE", "SQA", "TextVQA", "VizWiz", "VQAv2"]
    assert found.columns.tolist() == [
        *["group", "method", "visual_tokens", *benchmarks],
        *["relative_percent", "benchmarks_compared"],
    ]
    assert len(found) == 16
    assert found["method"].tolist()[:3] == ["LLaVA-1.5", "PruMerge", "TokenPacker"]
    assert pd.isna(found.loc[0, "relative_percent"])
    rows = found.set_index(["method", "visual_tokens"])
    assert rows.loc[("MatryoshkaMulti", 36), "benchmarks_compared"] == 4
    expected = 100 * ((60.3 / 62 + 64.8 / 64.3 + 85.5 / 85.9 + 52.8 / 50) / 4 - 1)
    assert rows.loc[("MatryoshkaMulti", 36), "relative_percent"] == pytest.approx(expected)
    assert rows.loc[("QueCC", 1), "relative_percent"] == pytest.approx(-10.46, abs=0.005)
    assert found[benchmarks].notna().sum().sum() == len(TABLE)


def test_pairwise_wins():
    found = count_wins(TABLE, "TokenPacker")
    totals = found.groupby("rival")[["wins", "ties", "comparisons"]].sum()
    assert totals.loc["MatryoshkaQuery"].tolist() == [23, 0, 28]
    assert totals.loc["PruMerge"].tolist() == [7, 0, 8]
    multi = found[found["rival"] == "MatryoshkaMulti"].set_index("group")
    assert multi.loc[36, ["wins", "ties", "comparisons"]].tolist() == [0, 0, 4]
    assert multi.loc[1, ["wins", "ties", "comparisons"]].tolist() == [2, 0, 4]


def test_wins_mirror_losses():
    one = count_wins(TABLE, "QueCC").set_index(["rival", "group"]).loc["TokenPacker"]
    other = count_wins(TABLE, "TokenPacker").set_index(["rival", "group"]).loc["QueCC"]
    assert (one["wins"] + other["wins"] + one["ties"] == one["comparisons"]).all()


def test_equal_scores_are_ties():
    table = TABLE.assign(score=50.0)
    found = count_wins(table, "QueCC")
    assert (found["wins"] == 0).all()
    assert (found["ties"] == found["comparisons"]).all()


def test_a_missing_cell_may_be_left_out_or_nan():
    nan = TABLE.iloc[:1].assign(method="MatryoshkaMulti", group=36, benchmark="SQA", score=None)
    nan = nan.astype({"score": float})
    both = pd.concat([TABLE, nan])
    pd.testing.assert_frame_equal(pivot_scores(both), pivot_scores(TABLE))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE.drop(columns="group"), "'group' is missing"),
        (pd.concat([TABLE, TABLE.tail(1)]), "QueCC has two scores on VQAv2 in group 1"),
        (TABLE[TABLE["method"] != "QueCC"], "no score of 'QueCC'"),
        (TABLE[TABLE["method"] != "LLaVA-1.5"], "no score of 'LLaVA-1.5'"),
        (pd.concat([TABLE, TABLE.head(1).assign(group=36)]), "stands in several groups"),
    ],
)
def test_refused(table, message):
    with pytest.raises(UserError, match=message):
        measure_gaps(table, method="QueCC")
