"""Tables of laws with a training budget as text."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import plant_budget_law
from vlmscale.analysis.decisions.lifetime import Sampled, tabulate_lifetimes
from vlmscale.analysis.laws.budget_tables import describe_budgets
from vlmscale.report.budget_law import (
    format_budget_law,
    format_count,
    format_lifetime,
    format_range,
)
from vlmscale.report.figures.budget_law import draw

POINTS = plant_budget_law(1.2, 0.12, 0.03, 0.09, 0.1)
RNG = np.random.default_rng(0)
POINTS = POINTS.assign(
    budget=POINTS["samples"].map({5e3: "short", 2e4: "full"}),
    llm=POINTS["n_params_b"].map("{:g}B".format),
    error=POINTS["error"] + RNG.normal(0, 0.003, len(POINTS)),
)
SAMPLED = Sampled({"short": 5e3, "full": 2e4}, 60)


@pytest.fixture(scope="module")
def tables():
    laws = describe_budgets(POINTS, [0, 50], draws=100, seed=0)
    lives = tabulate_lifetimes(POINTS, SAMPLED, [0, 50], draws=100, seed=0)
    return [table.assign(series="ours", family="ocr") for table in (laws, lives)]


def test_laws_as_text(tables):
    text = format_budget_law(tables[0])
    product = text[text["form"] == "product"].iloc[0]
    law = tables[0].query("form == 'product'").iloc[0]
    assert product["γ"] == f"{law.gamma:.4f} [{law.gamma_low:.4f}, {law.gamma_high:.4f}]"
    assert text["ΔAICc"].iloc[0] == "0.0"
    assert set(text.loc[text["form"] == "one budget", "S"]) == {"5,000", "20,000"}
    assert text.map(lambda cell: isinstance(cell, str)).all(axis=None)
    assert list(text) == [
        *("law", "family", "form", "budget", "S", "α", "β", "γ", "α/β", "V*(50)", "D"),
        *("ΔAICc", "fitted", "note"),
    ]


def test_lifetimes_as_text(tables):
    """Choices that differ in V alone are one row of their LLM."""
    rows = tables[1]
    asked = rows[["target", "text_tokens", "beyond", "llm"]]
    changes = asked != asked.shift()
    text = format_lifetime(rows)
    assert len(text) == changes.any(axis=1).sum() < len(rows)
    assert text["answers"].iloc[-1].endswith("and more")
    beyond = text["training"] == "up to 10 times"
    assert text.loc[beyond, "S"].str.endswith("*").any()
    assert not text.loc[~beyond, "S"].str.endswith("*").any()
    one = format_lifetime(rows[rows["target"] == "0.5B"].iloc[:1]).iloc[0]
    row = rows[rows["target"] == "0.5B"].iloc[0]
    assert one["V"] == str(row["visual_tokens"])
    assert one["S"] == format_count(row["samples"])
    assert list(format_lifetime(rows.iloc[:0])) == list(text)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (0, np.inf, "any number"),
        (0, 2e3, "up to 2,000"),
        (2e3, 1.5e7, "2,000 to 1.5e+07"),
        (1.5e7, np.inf, "1.5e+07 and more"),
    ],
)
def test_ranges_of_answers(start, end, words):
    assert format_range(start, end) == words


def test_counts():
    assert [format_count(x) for x in (np.nan, 0.01234, 12345.6)] == ["", "0.0123", "12,346"]


def test_the_figure_shows_intervals_optima_and_llms(tables):
    laws, lives = tables
    figure = draw(laws, lives, title="a study")
    figure.draw_without_rendering()  # warnings are errors
    exponents, optima, bars = figure.axes
    labels = [tick.get_text() for tick in exponents.get_yticklabels()]
    assert labels == [*("α, all", "α, short", "α, full", "β, all", "β, short", "β, full", "γ, all")]
    product = laws[laws["form"] == "product"].iloc[0]
    assert exponents.get_lines()[0].get_xdata() == [product["alpha"]]
    alone = laws[laws["form"] == "one budget"]
    assert optima.get_lines()[0].get_ydata().tolist() == alone["tokens_at_50"].tolist()
    assert len(bars.patches) == (lives["text_tokens"] == 50).sum()
    assert [text.get_text() for text in figure.legends[0].get_texts()][-2] == "7B"


def test_a_study_whose_laws_have_no_lifetime_is_drawn(tables):
    laws, lives = tables
    figure = draw(laws, lives.iloc[:0], title="a study")
    figure.draw_without_rendering()
    assert not figure.axes[2].patches


def test_a_study_without_text_has_no_optimum(tables):
    laws, lives = tables
    optima = [column for column in laws if column.startswith("tokens_at_")]
    figure = draw(laws.drop(columns=optima), lives, title="a study")
    figure.draw_without_rendering()
    assert not figure.axes[1].get_visible()


def test_two_laws_have_two_rows(tables):
    both = [pd.concat([table, table.assign(family="reasoning")]) for table in tables]
    assert len(draw(*both, title="a study").axes) == 6
