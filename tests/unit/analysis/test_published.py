"""The transcribed numbers: whole grids, ranges, and where two places differ."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PUBLISHED = Path(__file__).parents[3] / "src/vlmscale/resources" / "published"
N, T = [0.5, 1.8, 4.0, 7.0], [1, 4, 16, 36, 64, 144, 576]
CELL = ["n_params_b", "visual_tokens"]


def read(name):
    return pd.read_csv(PUBLISHED / f"{name}.csv")


def cells(table):
    return list(table[CELL].itertuples(index=False, name=None))


def grid(tokens=T):
    return [(n, t) for n in N for t in tokens]


def differing(table, other):
    both = table.merge(other, on=CELL)
    return len(both), cells(both[both["score_x"] != both["score_y"]])


@pytest.fixture(scope="module")
def earlier():
    return read("earlier_scores").set_index("list")


@pytest.mark.parametrize("name", ["reasoning_scores", "ocr_scores"])
def test_released_tables_are_whole_grids(name):
    table = read(name)
    assert list(table.columns) == [*CELL, "score", "note"]
    assert cells(table) == grid()
    assert table["score"].between(0, 1).all()


def test_earlier_lists(earlier):
    assert list(earlier.columns) == [*CELL, "score", "note"]
    assert earlier["score"].between(0, 1).all()
    assert cells(earlier.loc["h0_24"]) == grid(T[1:])
    assert cells(earlier.loc["hA_28"]) == grid()
    assert cells(earlier.loc["hB_27"]) == grid()[:-1]


def test_two_reasoning_cells_differ_from_the_earlier_list(earlier):
    found = differing(read("reasoning_scores"), earlier.loc["hB_27"])
    assert found == (27, [(0.5, 4), (4.0, 576)])
    row = earlier.loc["hB_27"].query("n_params_b == 0.5").set_index("visual_tokens")["score"]
    assert row[16] < row[4]


def test_unsplit_ocr_list():
    unsplit = read("ocr_unsplit_scores")
    assert list(unsplit.columns) == [*CELL, "score", "note"]
    assert cells(unsplit) == grid()[:-1]
    assert differing(read("ocr_scores"), unsplit) == (27, [(4.0, 4)])


def test_repeated_and_short_ocr_values():
    ocr = pd.read_csv(PUBLISHED / "ocr_scores.csv", dtype={"score": str}).set_index(CELL)["score"]
    repeated = ocr[ocr.duplicated(keep=False)]
    assert list(repeated.index) == [(4.0, 576), (7.0, 576)]
    assert list(ocr[ocr.str.len() < 9].index) == [(7.0, 16)]


@pytest.mark.parametrize(
    "name", ["reasoning_scores", "ocr_scores", "ocr_unsplit_scores", "earlier_scores"]
)
def test_differences_are_noted(name):
    noted = read(name).dropna(subset="note")
    expected = {
        "reasoning_scores": [(0.5, 4), (4.0, 576), (7.0, 576)],
        "ocr_scores": [(4.0, 4), (7.0, 16), (7.0, 576)],
        "ocr_unsplit_scores": [(4.0, 4), (7.0, 16)],
        "earlier_scores": [(7.0, 36), (7.0, 576), (0.5, 4), (4.0, 576)],
    }
    assert cells(noted) == expected[name]


def test_table1():
    table = read("table1")
    assert list(table.columns) == [
        *["group", "method", "visual_tokens", "benchmark", "score", "source"]
    ]
    assert len(table) == 116
    assert not table.duplicated(["group", "method", "benchmark"]).any()
    assert table["benchmark"].nunique() == 8
    assert set(table["source"]) == {"paper of the method", "evaluated by the authors"}
    assert table.groupby("group")["method"].nunique().to_dict() == {
        1: 4,
        4: 3,
        16: 3,
        36: 5,
        576: 1,
    }
    elsewhere = table[table["group"] != table["visual_tokens"]]
    assert set(elsewhere[["method", "visual_tokens"]].itertuples(index=False, name=None)) == {
        ("PruMerge", 32),
        ("MatryoshkaQuery", 2),
    }
    mme = table["benchmark"] == "MME"
    assert table.loc[~mme, "score"].between(0, 100).all()
    assert table.loc[mme, "score"].between(1000, 2000).all()


@pytest.fixture(scope="module")
def readings():
    return pd.read_csv(PUBLISHED / "readings.csv", dtype=str)


def numbers(readings, name):
    return np.array(readings.set_index("name").loc[name, "value"].split(), float)


def test_readings_are_numbers_under_unique_names(readings):
    assert list(readings.columns) == ["name", "value", "where", "how"]
    assert readings["name"].is_unique
    assert readings.notna().all(axis=None)
    for name in readings["name"]:
        assert np.isfinite(numbers(readings, name)).all()
    for name in readings.loc[readings["name"].str.endswith("ticks"), "name"]:
        low, high = numbers(readings, name)
        assert low < high


def test_the_drawn_law_is_a_node_of_the_released_grid(readings):
    nodes = 1
    for value, axis in zip(
        numbers(readings, "drawn_law"), ["amplitude", "alpha", "beta", "floor"], strict=True
    ):
        low, high, count = numbers(readings, f"code_{axis}_grid")
        steps = (value - low) / (high - low) * (count - 1)
        assert steps == pytest.approx(round(steps), abs=1e-3)
        nodes *= count
    assert nodes == 5_000_000
