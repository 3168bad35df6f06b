"""Figures 2 and 6 of the paper: the law of the fitted sizes, and its predictions for others."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlmscale.costs.flops import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import (
    Looks,
    cost_panels,
    draw_points,
    entry,
    law_lines,
    look_lines,
    note,
    token_range,
)
from vlmscale.report.figures.style import GREY, finish


def draw(data: LawData) -> Figure:
    """Draw one panel for each Q of the data."""
    figure, panels = cost_panels(data)
    for q, ax in panels.items():
        draw_predictions(ax, data, q)
    looks = Looks.of(data)
    handles = [
        *look_lines(data.fitted, looks),
        *_outside_lines(data, looks),
        entry("95 % band of the law", color=GREY, lw=6, alpha=0.3, solid_capstyle="butt"),
        *law_lines(data),
    ]
    return finish(figure, data.title, handles)


def draw_predictions(ax: Axes, data: LawData, text_tokens: int) -> None:
    """Draw every LLM's curve with its 95 % band, dashed where it took no part in the fit.

    Points of a held-out LLM are drawn where it was measured, its curve over all token counts.
    """
    points, looks, used = data.means, Looks.of(data), set(data.fitted["llm"])
    tokens = token_range(points)
    for llm, n in data.sizes.items():
        colour, style = looks.colours[llm], "-" if llm in used else "--"
        cost, (low, high) = prefill_gflops(n, tokens, text_tokens), data.band(n, tokens)
        ax.fill_between(cost, low, high, color=colour, alpha=0.2, lw=0)
        ax.plot(cost, data.law.predict(n, tokens), style, color=colour, lw=1)
    cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], text_tokens)
    draw_points(ax, points, cost, points["error"].to_numpy(float), looks)


def _outside_lines(data: LawData, looks: Looks) -> list[Line2D]:
    """Return the legend of LLMs outside the fit, with the law's deviation where they were measured."""
    lines = []
    for llm, rows in data.held_out.groupby("llm", sort=False):
        predicted = data.law.predict(
            rows["n_params_b"].to_numpy(float), rows["visual_tokens"].to_numpy(float)
        )
        percent = 100 * np.abs(predicted / rows["error"].to_numpy(float) - 1)
        lines += [
            entry(f"{llm}, held out", color=looks.colours[str(llm)], ls="--"),
            note(f"off {percent.mean():.2f} % on average,"),
            note(f"{percent.max():.2f} % at most"),
        ]
    return lines + [
        entry(f"{llm}, predicted", color=looks.colours[llm], ls="--") for llm in data.predicted
    ]
