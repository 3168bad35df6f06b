"""Figures 2 and 6 of the paper: the law of the fitted sizes, and its predictions for others."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlmscale.costs.nominal import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import (
    Looks,
    cost_panels,
    count_lines,
    draw_points,
    entry,
    law_lines,
    llm_lines,
    note,
    predict_error,
    token_range,
)
from vlmscale.report.figures.style import GREY, finish


def draw(data: LawData) -> Figure:
    """Draw every LLM's curve with its 95 % band, dashed where it took no part in the fit, at each Q.

    The band of a fitted LLM is the law's; that of another is of what a training of it would show. Points of
    a held-out LLM are drawn where it was measured, its curve over all token counts.
    """
    figure, panels = cost_panels(data)
    points, looks, used = data.means, Looks.of(data), set(data.fitted["llm"])
    tokens = token_range(points)
    for q, ax in panels.items():
        for llm, n in data.sizes.items():
            colour, style = looks.colours[llm], "-" if llm in used else "--"
            cost = prefill_gflops(n, tokens, q)
            low, high = np.clip(data.band(n, tokens, new=llm not in used), 0, 1)
            ax.fill_between(cost, low, high, color=colour, alpha=0.2, lw=0)
            ax.plot(cost, predict_error(data.law.predict, n, tokens), style, color=colour, lw=1)
        cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], q)
        draw_points(ax, points, cost, points["error"].to_numpy(float), looks)
    handles = [
        *llm_lines(data.fitted, looks),
        *_outside_lines(data, looks),
        entry("95 % band of the law;", color=GREY, lw=6, alpha=0.3, solid_capstyle="butt"),
        note("dashed: of a new training"),
        *law_lines(data),
    ]
    return finish(figure, data.title, handles, below=count_lines(points, looks))


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
