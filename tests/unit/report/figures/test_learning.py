"""Learning curves show every score at its steps."""

import numpy as np
import pandas as pd
import pytest

from vlmscale.report.figures.catalogue import draw_figure


@pytest.fixture
def tables():
    """Two LLMs at two V and three budgets, two seeds, five benchmarks."""
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(
        [
            (llm, size, "tokenpacker", v, seed, steps)
            for llm, size in (("small", 1e-5), ("large", 1e-4))
            for v in (1, 9)
            for seed in (0, 1)
            for steps in (50, 100, 200)
        ],
        columns=["llm", "n_params_b", "method", "visual_tokens", "seed", "steps"],
    )
    cells["run"] = [f"run{number}" for number in range(len(cells))]
    names = ["exist", "attr", "count", "char", "mean"]
    errors = cells.drop(columns="steps").merge(pd.DataFrame({"benchmark": names}), how="cross")
    errors["family"] = np.where(errors["benchmark"] == "char", "ocr", "reasoning")
    errors["score"] = rng.uniform(0.2, 0.9, len(errors))
    stages = pd.DataFrame({"stage": ["stage1", "stage2"]})
    trainings = cells[["run", "steps"]].merge(stages, how="cross")
    trainings.loc[trainings["stage"] == "stage1", "steps"] = 7
    return {
        "errors": errors,
        "chance": pd.DataFrame({"benchmark": names[:-1], "chance": [0.5, 0.1, 0.3, 0.08]}),
        "trainings": trainings,
    }


def test_a_line_has_the_mean_score_at_the_steps_of_each_budget(tables):
    figure = draw_figure("learning", tables, title="a study")
    figure.draw_without_rendering()  # warnings are errors
    panels = {ax.get_title("left"): ax for ax in figure.axes if ax.get_visible()}
    assert list(panels) == [
        "exist (reasoning)",
        "attr (reasoning)",
        "count (reasoning)",
        "char (ocr)",
    ]
    steps = tables["trainings"].query("stage == 'stage2'").set_index("run")["steps"]
    errors = tables["errors"].assign(steps=tables["errors"]["run"].map(steps))
    for title, ax in panels.items():
        mine = errors[errors["benchmark"] == title.partition(" ")[0]]
        expected = mine.groupby(["llm", "visual_tokens", "steps"])["score"].mean()
        *lines, level = ax.get_lines()
        assert {tuple(np.round(line.get_ydata(), 12)) for line in lines} == {
            tuple(np.round(curve.to_numpy(), 12))
            for _, curve in expected.groupby(["llm", "visual_tokens"])
        }
        assert all(list(line.get_xdata()) == [50, 100, 200] for line in lines)
        known = tables["chance"].set_index("benchmark")["chance"][title.partition(" ")[0]]
        assert set(level.get_ydata()) == {known}


def test_the_legend_names_llms_methods_and_counts(tables):
    figure = draw_figure("learning", tables, title="a study")
    texts = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
    assert texts == [["small", "large", "tokenpacker", "a constant answer", "V = 1", "V = 9"]]


def test_every_column_names_its_steps(tables):
    errors = tables["errors"]
    more = errors[errors["benchmark"] == "char"].assign(benchmark="fifth")
    chance = pd.concat([tables["chance"], pd.DataFrame({"benchmark": ["fifth"], "chance": [0.1]})])
    figure = draw_figure(
        "learning",
        {**tables, "errors": pd.concat([errors, more]), "chance": chance},
        title="a study",
    )
    figure.draw_without_rendering()
    shown = [
        any(
            tick.label1.get_visible() and tick.label1.get_text()
            for tick in ax.xaxis.get_major_ticks()
        )
        for ax in figure.axes
        if ax.get_visible()
    ]
    assert shown == [False, True, True, True, True]


def test_a_cell_of_one_budget_has_no_curve(tables):
    errors, trainings = tables["errors"], tables["trainings"]
    alone = errors[errors["run"] == "run0"].assign(run="other", method="quecc")
    more = {
        **tables,
        "errors": pd.concat([errors, alone]),
        "trainings": pd.concat(
            [trainings, trainings[trainings["run"] == "run0"].assign(run="other")]
        ),
    }
    counts = [
        len(draw_figure("learning", each, title="a study").axes[0].get_lines())
        for each in (tables, more, {**more, "errors": alone})
    ]
    assert counts == [5, 5, 2]
