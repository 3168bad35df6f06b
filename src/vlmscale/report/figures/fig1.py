"""Figure 1 of the paper: error against inference cost, without text (cached) and with it."""

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
from vlmscale.report.figures.style import DARK


def draw(data: LawData) -> Figure:
    """Fitted points, their law and their Pareto front; one panel for each number of text tokens."""
    points, looks = data.fitted, Looks.of(data)
    figure, axes = cost_panels(data)
    for ax, q in zip(axes, data.text_tokens, strict=True):
        draw_measured(ax, points, data.law, looks, text_tokens=q)
        cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], q)
        best = pareto_front(cost, points["error"])
        front = points["error"].iloc[best]
        ax.step(cost[best], front, ":", where="post", color=DARK, lw=1.2, zorder=0)
    handles = look_lines(points, looks)
    handles += [entry("Pareto front, measured", ls=":"), *law_lines(data)]
    figure.legend(handles=handles, loc="outside right upper")
    return figure
