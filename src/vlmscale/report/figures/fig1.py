"""Figure 1 of the paper: error against inference cost, without text (cached) and with it."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlmscale.analysis.laws.frontier import pareto_front
from vlmscale.costs.flops import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import (
    Looks,
    cost_panels,
    draw_measured,
    entry,
    law_lines,
    look_lines,
)
from vlmscale.report.figures.style import DARK, finish


def draw(data: LawData) -> Figure:
    """Draw one panel for each Q of the data."""
    figure, panels = cost_panels(data)
    for q, ax in panels.items():
        draw_error_by_cost(ax, data, q)
    front = entry("Pareto front, measured", ls=":")
    handles = [*look_lines(data.fitted, Looks.of(data)), front, *law_lines(data)]
    return finish(figure, data.title, handles)


def draw_error_by_cost(ax: Axes, data: LawData, text_tokens: int) -> None:
    """Draw the fitted points, their law and their Pareto front."""
    points = data.fitted
    draw_measured(ax, points, data.law, Looks.of(data), text_tokens=text_tokens)
    cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], text_tokens)
    best = pareto_front(cost, points["error"])
    front = points["error"].iloc[best]
    ax.step(cost[best], front, ":", where="post", color=DARK, lw=1.2, zorder=0)
