"""The transcribed numbers: whole grids, ranges, and where two places differ."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import N, V, read_scores
from tests.support.paths import RESOURCES
from vlmscale.analysis.published import load_published_errors

PUBLISHED = RESOURCES / "published"
CELL = ["n_params_b", "visual_tokens"]


def read(name):
    return pd.read_csv(PUBLISHED / f"{name}.csv")


def cells(table):
    return list(table[CELL].itertuples(index=False, name=None))


def grid(tokens=V):
    return [(n, v) for n in N for v in tokens]


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
    assert cells(earlier.loc["h0_24"]) == grid(V[1:])
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


def test_slopes_by_size_and_exponents_by_count():
    scores = read_scores("reasoning_scores")
    log_v = np.log(V)
    slopes = [
        np.polyfit(log_v, row.sort_values("visual_tokens")["error"], 1)[0]
        for _, row in scores.groupby("n_params_b")
    ]
    assert slopes == pytest.approx([-0.00769, -0.00713, -0.00940, -0.00832], abs=1e-5)
    exponents = [
        -np.polyfit(np.log(column["n_params_b"]), np.log(column["error"]), 1)[0]
        for _, column in scores.groupby("visual_tokens")
    ]
    expected = [0.0643, 0.0694, 0.0684, 0.0712, 0.0749, 0.0732, 0.0776]
    assert exponents == pytest.approx(expected, abs=6e-5)


def test_released_scores_have_the_columns_of_a_study():
    errors = load_published_errors()
    assert errors.groupby("family").size().to_dict() == {"ocr": 28, "reasoning": 28}
    assert (errors["error"] == 1 - errors["score"]).all()
    assert errors["cell"].tolist()[:2] == ["Qwen1.5-0.5B__v1", "Qwen1.5-0.5B__v4"]
    assert (errors["nominal_b"] == errors["n_params_b"]).all()
    assert (errors["non_embedding_b"] < errors["total_b"]).all()
