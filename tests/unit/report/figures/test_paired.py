"""The figure of methods beside a baseline shows the table's numbers, and survives an empty one."""

import numpy as np
import pandas as pd
import pytest

from vlmscale.report.figures.paired import draw
from vlmscale.report.tables import format_table

COLUMNS = [
    "method",
    "baseline",
    "llm",
    "visual_tokens",
    "family",
    "benchmark",
    "questions",
    "seeds",
]


def table(rows):
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "difference", "low", "high", "p_holm"])
    return frame.assign(llms=1, p=frame["p_holm"], budget="full")


ROWS = [
    ("quecc", "tokenpacker", "d32", 4, "reasoning", "mean", 400, 1, 0.10, 0.02, 0.20, 0.01),
    ("quecc", "tokenpacker", "d32", 4, "reasoning", "exist", 100, 1, 0.3, 0.2, 0.4, np.nan),
    ("quecc", "tokenpacker", "d32", 4, "ocr", "mean", 200, 1, -0.05, -0.10, 0.02, 0.8),
    ("m3", "tokenpacker", "d32", 4, "reasoning", "mean", 400, 1, 0.0, -0.1, 0.1, 1.0),
]


def test_points_are_the_family_means():
    figure = draw(table(ROWS), title="x")
    reasoning, ocr = figure.axes
    assert (reasoning.get_title("left"), ocr.get_title("left")) == ("reasoning", "ocr")
    assert [t.get_text() for t in reasoning.get_yticklabels()] == [
        "m3, V = 4, d32",
        "quecc, V = 4, d32",
    ]
    drawn = {
        (float(x), float(y))
        for line in reasoning.get_lines()
        if line.get_marker() == "o"
        for x, y in zip(*line.get_data(), strict=True)
    }
    assert drawn == {(0.0, 0.0), (10.0, 1.0)}
    filled = [
        line.get_xdata().tolist()
        for line in reasoning.get_lines()
        if line.get_marker() == "o" and line.get_markerfacecolor() != "white"
    ]
    assert filled == [[10.0]]


def test_the_table_shows_percent_points():
    text = format_table("paired", table(ROWS))
    assert text["difference"].tolist()[0] == "+10.0 [+2.0, +20.0]"
    assert len(text) == 3


def test_budgets_are_named_where_there_are_several():
    both = pd.concat([table(ROWS), table(ROWS[:1]).assign(budget="short")])
    labels = [t.get_text() for t in draw(both, title="x").axes[0].get_yticklabels()]
    assert labels == ["m3, V = 4, d32, full", "quecc, V = 4, d32, full", "quecc, V = 4, d32, short"]
    assert format_table("paired", both)["budget"].tolist() == ["full"] * 3 + ["short"]
    assert "budget" not in format_table("paired", table(ROWS))


@pytest.mark.filterwarnings("error")
def test_a_study_of_one_method_is_drawn_empty():
    empty = table([])
    draw(empty, title="x")
    assert format_table("paired", empty).empty
