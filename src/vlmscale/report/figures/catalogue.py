"""Every figure by name, drawn from result tables."""

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure

from vlmscale.report.figures import (
    LAW_FIGURES,
    cost,
    exponents,
    fig1,
    fig2,
    fig3a,
    fig3b,
    fig4,
    latency,
    optimum,
    paired,
    profile,
    residuals,
    side_by_side,
)
from vlmscale.report.figures.data import read_law_data

DRAW: dict[str, Callable[..., Figure]] = {
    "fig1": fig1.draw,
    "fig2": fig2.draw,
    "fig3a": fig3a.draw,
    "fig3b": fig3b.draw,
    "profile": profile.draw,
    "exponents": exponents.draw,
    "optimum": optimum.draw,
    "residuals": residuals.draw,
    "fig4": fig4.draw,
    "paired": paired.draw,
    "cost": cost.draw,
    "side_by_side": side_by_side.draw,
    "latency": latency.draw,
}


def draw_figure(name: str, tables: Mapping[str, Any], **options: Any) -> Figure:
    """Draw the figure `name` of INPUTS from its result tables.

    options: `title`, and what read_law_data (for LAW_FIGURES) or the figure's own `draw` takes.
    """
    if name in LAW_FIGURES:
        return DRAW[name](read_law_data(**tables, **options))
    return DRAW[name](**tables, **options)
