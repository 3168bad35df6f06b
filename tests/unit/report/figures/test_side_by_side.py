"""The figure of a study's laws beside the released ones shows the tables' numbers, whatever they are."""

import numpy as np
import pandas as pd
import pytest

from vlmscale.errors import UserError
from vlmscale.report.figures.side_by_side import draw

QUANTITIES = ("alpha", "beta", "ratio")
# series, family, floor_bound, then value, low, high of alpha, beta, ratio
STUDY = [
    ("quecc", "ocr", "interior", (0.02, 0.01, 0.03), (0.04, 0.03, 0.05), (0.5, 0.3, 0.7)),
    ("quecc", "reasoning", "lower", (0.08, 0.07, 0.1), (0.02, 0.01, 0.03), (4.0, 3.0, 6.0)),
    ("mlp", "ocr", "interior", (0.03, 0.02, 0.9), (0.0, 0.0, 0.04), (np.inf, 0.4, np.inf)),
]
RELEASED = [
    ("published", "reasoning", "lower", (0.07, 0.06, 0.08), (0.015, 0.01, 0.02), (4.7, 4.0, 5.0)),
    ("published", "ocr", "upper", (0.03, 0.02, 0.04), (0.04, 0.035, 0.045), (0.75, 0.6, 0.9)),
]


def tables(rows, scheme="sizes", axis="total"):
    """Laws and intervals; a scheme that stands for none has intervals far away."""
    laws = [
        {"series": s, "family": f, "floor_bound": b, "size_axis": axis}
        | {q: span[0] for q, span in zip(QUANTITIES, spans, strict=True)}
        for s, f, b, *spans in rows
    ]
    intervals = [
        {"series": s, "family": f, "scheme": name, "quantity": q, "low": low, "high": high}
        for s, f, _, *spans in rows
        for q, (_, *ends) in zip(QUANTITIES, spans, strict=True)
        for name, (low, high) in ((scheme, ends), ("residual", (0.5, 0.6)))
    ]
    return pd.DataFrame(laws), pd.DataFrame(intervals)


@pytest.fixture
def panels():
    figure = draw(*tables(STUDY, "cases"), *tables(RELEASED), title="x")
    figure.draw_without_rendering()
    return figure.axes


def marks(ax, marker):
    """{place: (x, filled)} of the points with this marker."""
    return {
        int(y): (float(x), line.get_markerfacecolor() != "white")
        for line in ax.get_lines()
        if line.get_marker() == marker
        for x, y in zip(*line.get_data(), strict=True)
    }


def bars(ax):
    """{place: (low, high)} of the intervals."""
    segments = [segment for c in ax.collections for segment in c.get_segments()]
    return {int(y): (float(low), float(high)) for (low, y), (high, _) in segments}


def numbers(ax):
    return [text.get_text() for text in ax.texts if "matter" not in text.get_text()]


def test_each_family_ends_with_the_released_law(panels):
    ticks = panels[0].get_yticklabels()
    labels = {int(tick.get_position()[1]): tick.get_text() for tick in ticks}
    assert [labels[place] for place in range(7)] == [
        "reasoning",
        "quecc",
        "released scores",
        "ocr",
        "quecc",
        "mlp",
        "released scores",
    ]
    bold = {tick.get_text() for tick in ticks if tick.get_fontweight() == "bold"}
    assert bold == {"reasoning", "ocr"}
    assert [ax.get_xlabel() for ax in panels] == ["α", "β", "α / β"]
    top, bottom = panels[0].transData.transform([(0, 0), (0, 6)])[:, 1]
    assert top > bottom


def test_points_and_intervals_are_the_tables_numbers(panels):
    alpha, beta, ratio = panels
    assert marks(alpha, "o") == {
        1: (0.08, False),
        2: (0.07, False),
        4: (0.02, True),
        5: (0.03, True),
        6: (0.03, False),
    }
    assert bars(beta) == {
        1: (0.01, 0.03),
        2: (0.01, 0.02),
        4: (0.03, 0.05),
        5: (0.0, 0.04),
        6: (0.035, 0.045),
    }
    assert numbers(alpha) == [
        "0.08 [0.07, 0.1]",
        "0.07 [0.06, 0.08]",
        "0.02 [0.01, 0.03]",
        "0.03 [0.02, 0.9]",
        "0.03 [0.02, 0.04]",
    ]
    assert ratio.get_xscale() == "log"
    assert [1, 1] in [list(line.get_xdata()) for line in ratio.get_lines()]


def test_an_arrow_stands_where_an_interval_leaves_the_axis(panels):
    alpha, beta, ratio = panels
    right = alpha.get_xlim()[1]
    assert right == pytest.approx(1.05 * 3 * 0.08)
    assert marks(alpha, ">") == {5: (right, True)}
    assert bars(alpha)[5] == (0.02, right)
    assert not any(marks(ax, "<") for ax in panels)
    assert not marks(beta, ">")
    # an infinite ratio has no point
    assert set(marks(ratio, "o")) == {1, 2, 4, 6}
    assert marks(ratio, ">") == {5: (ratio.get_xlim()[1], True)}
    assert bars(ratio)[5] == (0.4, ratio.get_xlim()[1])
    assert numbers(ratio)[3] == "unbounded [0.4, unbounded]"


def test_a_ratio_of_zero_points_to_the_left():
    rows = [("mlp", "ocr", "interior", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 2.0))]
    figure = draw(*tables(rows), *tables(RELEASED), title="x")
    figure.draw_without_rendering()
    ratio = figure.axes[2]
    assert marks(ratio, "<") == {1: (ratio.get_xlim()[0], True)}
    assert bars(ratio)[1] == (ratio.get_xlim()[0], 2.0)
    # of a family that the study lacks nothing is shown
    assert [len(numbers(ax)) for ax in figure.axes] == [2, 2, 2]


def test_a_law_without_intervals():
    rows = [(*RELEASED[1][:3], *((v, np.nan, np.nan) for v in (0.03, 0.04, 0.75)))]
    figure = draw(*tables(rows), *tables(rows), title="x")
    figure.draw_without_rendering()
    assert numbers(figure.axes[0]) == ["0.03", "0.03"]
    assert set(marks(figure.axes[2], "o")) == {1, 2}


@pytest.mark.parametrize(
    ("released", "words"), [("total", "N of both total"), ("nominal", "N total, of theirs nominal")]
)
def test_the_figure_says_what_n_counts(released, words):
    figure = draw(*tables(STUDY), *tables(RELEASED, axis=released), title="x")
    assert figure.get_suptitle().endswith(words)


def test_laws_of_two_protocols_are_not_drawn_together():
    laws, intervals = tables(STUDY)
    released, spread = tables(RELEASED)
    with pytest.raises(UserError, match="protocols llava15 and lmms meet"):
        draw(
            laws.assign(protocol="llava15"),
            intervals,
            released.assign(protocol="lmms"),
            spread,
            title="x",
        )
