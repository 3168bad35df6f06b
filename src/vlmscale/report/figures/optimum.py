"""The best number of visual tokens by the length of the text: V* = Q / (alpha / beta - 1)."""

import numpy as np
from matplotlib.figure import Figure

from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.power_law import divide_exponents
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.style import DARK, finish, new_figure

_TEXT_TOKENS = np.linspace(0, 200, 201)


def draw(data: LawData) -> Figure:
    """Draw V* of the law with its 95 % band, between 1 and the most tokens tested."""
    figure, ((ax,),) = new_figure(1, 1, (6.6, 3.7))
    most = data.counts[-1]
    draws = data.draws_of(data.scheme)["ratio"].to_numpy()
    # A draw, never a mean of two: every law has an optimum within the range.
    middle = np.quantile(draws, 0.5, method="closest_observation")
    low, median, high = (
        optimal_tokens(ratio, _TEXT_TOKENS, low=1, high=most)
        for ratio in (data.interval("ratio")[1], middle, data.interval("ratio")[0])
    )
    band = f"95 % interval: {data.scheme}"
    ax.fill_between(_TEXT_TOKENS, low, high, color="C0", alpha=0.2, lw=0, label=band)
    ax.plot(_TEXT_TOKENS, median, color="C0", lw=1, label="median of the draws")
    fitted = optimal_tokens(data.law.ratio, _TEXT_TOKENS, low=1, high=most)
    label = f"fitted law, α / β = {data.law.ratio:.3f}"
    ax.plot(_TEXT_TOKENS, fitted, color=DARK, lw=1.6, label=label)
    if data.printed:
        ratio = float(divide_exponents(*data.printed))
        label = f"printed exponents, α / β = {ratio:.3f}"
        printed = optimal_tokens(ratio, _TEXT_TOKENS, low=1, high=most)
        ax.plot(_TEXT_TOKENS, printed, "--", color="C1", lw=1.4, label=label)
    ax.plot([], [], ls="", label=f"α / β > 1 in {100 * (draws > 1).mean():.1f} % of draws")
    ax.set_yscale("log")
    ax.set_yticks(data.counts, [str(count) for count in data.counts])
    ax.minorticks_off()
    ax.margins(x=0)
    ax.set_ylim(0.9, 1.15 * most)
    ax.set_xlabel("text tokens Q")
    ax.set_ylabel("best number of visual tokens\n(ticks: tested counts)")
    return finish(figure, data.title, ax.get_legend_handles_labels()[0])
