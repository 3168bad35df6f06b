"""Figure 3a of the paper: two sizes against each other as the text grows longer."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from vlmscale.analysis.laws.optimum import crossover, least_text_tokens
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import cost_axis, entry, note, predict_error, token_range
from vlmscale.report.figures.style import DARK, finish, new_figure

_TEXT_TOKENS = np.linspace(0, 100, 11)


def draw(data: LawData) -> Figure:
    """Draw the law of two fitted sizes for Q from 0 to 100, with their crossovers.

    They are the second and third smallest, as in the paper; of two sizes, these. Measured points are those
    of Q = 0.
    """
    points, law = data.fitted, data.law
    sizes = sorted(points["n_params_b"].unique())
    small_b, large_b = sizes[1:3] if len(sizes) > 2 else sizes
    figure, ((ax,),) = new_figure(1, 1, (6.6, 3.9))
    tokens = token_range(points)
    low, high = tokens[0], tokens[-1]
    # The lightest end of the map is hard to see on white.
    colours = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.9, 256)))
    norm = Normalize(_TEXT_TOKENS[0], _TEXT_TOKENS[-1])
    crossed = False
    for q in _TEXT_TOKENS:
        for n, style in ((small_b, "--"), (large_b, "-")):
            cost = prefill_gflops(n, tokens, q)
            ax.plot(
                cost, predict_error(law.predict, n, tokens), style, color=colours(norm(q)), lw=1
            )
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
    figure.colorbar(ScalarMappable(norm, colours), ax=ax, label="text tokens Q", pad=0.02)
    cost_axis(ax, data, named=True)
    return finish(figure, data.title, handles)
