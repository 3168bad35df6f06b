"""The table and the figure of few tokens show every point, its costs and the front."""

import pandas as pd

from vlmscale.analysis.comparisons.one_token import compare_published
from vlmscale.report.figures.catalogue import draw_figure
from vlmscale.report.one_token import format_one_token

COMPARED = compare_published(50)


def test_the_table_has_one_row_a_point_and_a_star_for_each_place_on_a_front():
    table = format_one_token(COMPARED)
    points = COMPARED.groupby(["benchmark", "llm", "method", "visual_tokens"])
    assert len(table) == points.ngroups
    stars = sum(table[column].str.endswith(" *").sum() for column in table)
    assert stars == COMPARED["on_front"].sum() > 0
    costs = [column for column in table if column.endswith(("GFLOPs", "MB"))]
    assert len(costs) == COMPARED["mode"].nunique()
    assert "budget" not in table
    found = table.query("benchmark == 'GQA' and method == 'VoCo-LLaMA' and `visual tokens` == '2'")
    assert found["error"].tolist() == ["0.477"]
    assert found["kept, MB"].tolist() == ["1.049"]


def test_budgets_have_a_column_where_there_are_several():
    two = pd.concat([COMPARED, COMPARED.assign(budget="short")], ignore_index=True)
    table = format_one_token(two)
    assert set(table["budget"]) == {"full", "short"}
    assert len(table) == 2 * len(format_one_token(COMPARED))


def test_the_figure_has_a_panel_for_each_benchmark_and_mode():
    figure = draw_figure("one_token", {"one_token": COMPARED}, title="x", benchmarks=["GQA", "MMB"])
    assert len(figure.axes) == 2 * COMPARED["mode"].nunique()
    first = COMPARED[(COMPARED["benchmark"] == "GQA") & (COMPARED["mode"] == "neither cached")]
    front, *points = figure.axes[0].lines
    drawn = [(*line.get_xdata(), *line.get_ydata()) for line in points]
    assert sorted(drawn) == sorted(zip(first["cost"], first["error"], strict=True))
    assert len(front.get_xdata()) == first["on_front"].sum()
    hollow = [line for line in points if line.get_markerfacecolor() == "none"]
    assert len(hollow) == (first["evidence"] == "recalled").sum() == 1
    whole = draw_figure("one_token", {"one_token": COMPARED.assign(budget="short")}, title="x")
    assert len(whole.axes) == COMPARED["benchmark"].nunique() * COMPARED["mode"].nunique()
