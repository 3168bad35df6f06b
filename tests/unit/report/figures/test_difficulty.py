"""The figure of hard questions: bars are the shares, points the exponents, a missing law has none."""

import numpy as np
import pandas as pd
import pytest

from vlmscale.report.figures.difficulty import draw

SHARES = {0.0: 0.2, 1.0: 0.3, 9.0: 0.4, np.inf: 0.1}
BETAS = {"all": 0.2, "blind": np.nan, "more tokens": 0.4}


def test_bars_are_shares_and_points_exponents():
    fewest = pd.DataFrame(
        {
            "series": "ours",
            "benchmark": "field",
            "visual_tokens": list(SHARES),
            "share": SHARES.values(),
        }
    )
    parts = pd.DataFrame({"part": list(BETAS), "beta": list(BETAS.values())})
    parts = parts.assign(series="ours", family="ocr", alpha=parts["beta"] / 2)
    for name in ("alpha", "beta"):
        parts[f"{name}_low"], parts[f"{name}_high"] = parts[name] - 0.1, parts[name] + 0.1
    figure = draw(parts, fewest, title="a study")
    figure.draw_without_rendering()  # warnings are errors
    shares, alpha, beta = figure.axes
    assert [bar.get_width() for bar in shares.patches] == pytest.approx([20, 30, 40, 10])
    for ax, factor in ((alpha, 0.5), (beta, 1)):
        drawn = ax.get_lines()[0].get_xdata()
        assert drawn == pytest.approx(factor * np.array(list(BETAS.values())), nan_ok=True)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["without an image", "V = 1", "V = 9", "not at 9", "ocr"]


def test_points_outside_their_intervals_are_open():
    parts = pd.DataFrame({"part": ["all", "blind"], "series": "ours", "family": "ocr"})
    parts = parts.assign(alpha=[0.2, 0.2], alpha_low=[0.1, 0.1], alpha_high=[0.3, 0.15])
    parts = parts.assign(beta=0.2, beta_low=0.1, beta_high=0.3)
    fewest = pd.DataFrame(
        {"series": ["ours"], "benchmark": "field", "visual_tokens": 1.0, "share": 1.0}
    )
    figure = draw(parts, fewest, title="a study")
    figure.draw_without_rendering()
    filled, empty = figure.axes[1].get_lines()[:2]
    assert (filled.get_ydata().size, empty.get_ydata().size) == (1, 1)
    assert empty.get_markerfacecolor() == "white"
    assert figure.axes[2].get_lines()[1].get_ydata().size == 0
