"""Every figure by name, drawn from result tables."""

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure

from vlmscale.report.figures import (
    LAW_FIGURES,
    budget_law,
    cost,
    difficulty,
    exponents,
    fig1,
    fig2,
    fig3a,
    fig3b,
    fig4,
    latency,
    learning,
    one_token,
    optimum,
    paired,
    profile,
    residuals,
    side_by_side,
)
from vlmscale.report.figures.data import read_law_data

_OF_LAWS = (fig1, fig2, fig3a, fig3b, profile, exponents, optimum, residuals)
DRAW: dict[str, Callable[..., Figure]] = {
    module.__name__.rpartition(".")[2]: module.draw
    for module in (
        *_OF_LAWS,
        *(fig4, paired, difficulty, budget_law, cost, side_by_side, latency, learning),
        one_token,
    )
}


def draw_figure(name: str, tables: Mapping[str, Any], **options: Any) -> Figure:
    """Draw the figure `name` of INPUTS from its result tables.

    options: `title`, and what read_law_data (for LAW_FIGURES) or the figure's own `draw` takes.
    """
    if name in LAW_FIGURES:
        return DRAW[name](read_law_data(**tables, **options))
    return DRAW[name](**tables, **options)
