"""Figure 3a of the paper: two sizes against each other as the text grows longer."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlmscale.analysis.laws.optimum import crossover, least_text_tokens
from vlmscale.costs.flops import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import cost_axis, entry, note, token_range
from vlmscale.report.figures.style import DARK, finish, new_figure

_TEXT_TOKENS = np.linspace(0, 100, 11)


def draw(data: LawData) -> Figure:
    """Draw the second and third smallest size, as the paper does; of two sizes, these."""
    sizes = sorted(data.fitted["n_params_b"].unique())
    figure, axes = new_figure(1, 1, (6.6, 3.9))
    handles = draw_crossovers(axes[0, 0], data, *(sizes[1:3] if len(sizes) > 2 else sizes))
    return finish(figure, data.title, handles)


def draw_crossovers(ax: Axes, data: LawData, small_b: float, large_b: float) -> list[Line2D]:
    """Draw the law of two fitted sizes (billions) for Q from 0 to 100, with their crossovers.

    Measured points are those of Q = 0. Returns the legend.
    """
    points, law = data.fitted, data.law
    tokens = token_range(points)
    low, high = tokens[0], tokens[-1]
    # The lightest end of the map is hard to see on white.
    colours = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.9, 256)))
    norm = Normalize(_TEXT_TOKENS[0], _TEXT_TOKENS[-1])
    crossed = False
    for q in _TEXT_TOKENS:
        for n, style in ((small_b, "--"), (large_b, "-")):
            cost = prefill_gflops(n, tokens, q)
            ax.plot(cost, law.predict(n, tokens), style, color=colours(norm(q)), lw=1)
        meet = crossover(small_b, large_b, law.ratio, q)
        if meet and meet.large_tokens >= low and meet.small_tokens <= high:
            error = law.predict(large_b, meet.large_tokens)
            ax.plot(meet.gflops, error, "o", color=colours(norm(q)), mec=DARK, ms=5.5, zorder=4)
            crossed = True
    handles = []
    for n, style, fill in ((large_b, "-", "full"), (small_b, "--", "none")):
        rows = points[points["n_params_b"] == n]
        cost = prefill_gflops(n, rows["visual_tokens"], 0)
        look: dict[str, Any] = {"color": colours(0.0), "marker": "s", "ms": 4, "fillstyle": fill}
        ax.plot(cost, rows["error"], **look, ls="", zorder=3)
        name = ", ".join(rows["llm"].unique())
        handles += [entry(name, ls=style), entry("measured, Q = 0", **look, ls="")]
    if crossed:
        first = low * least_text_tokens(small_b, large_b, law.ratio)
        label = f"crossover, from Q = {first:.3g} on:"
        handles.append(entry(label, marker="o", color="0.8", mec=DARK, ls=""))
        handles.append(note("to its left the smaller is better"))
    else:
        handles.append(note(f"no crossover up to Q = {_TEXT_TOKENS[-1]:g}"))
    ax.figure.colorbar(ScalarMappable(norm, colours), ax=ax, label="text tokens Q", pad=0.02)
    cost_axis(ax, data, named=True)
    return handles
