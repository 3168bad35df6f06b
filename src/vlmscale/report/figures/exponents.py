"""Where the exponents may lie: drawn laws, against lines of constant alpha / beta."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import note
from vlmscale.report.figures.style import DARK, GREY, finish, new_figure
from vlmscale.report.format import format_interval

_RATIOS = (1, 2, 5)
_SHOWN = [0.005, 0.995]  # share of the draws within the axes: a few have far larger exponents


def draw(data: LawData) -> Figure:
    """Draw the scheme of the intervals and resampled points, where these differ."""
    schemes = list(dict.fromkeys((data.scheme, "cases")))
    figure, axes = new_figure(1, len(schemes), (3.6 * len(schemes) + 2.0, 3.7))
    for ax, scheme in zip(axes[0], schemes, strict=True):
        draw_exponents(ax, data, scheme)
    axes[0][0].set_ylabel("β")
    least, most = data.interval("ratio")
    handles = axes[0][0].get_legend_handles_labels()[0]
    handles.append(note(f"α / β = {format_interval(data.law.ratio, least, most, digits=2)}"))
    handles.append(note(f"95 % interval: {data.scheme}"))
    return finish(figure, data.title, handles)


def draw_exponents(ax: Axes, data: LawData, scheme: str) -> None:
    """Draw the cloud of one scheme's laws, the fitted law and the printed one."""
    law = data.law
    marks = [(law.alpha, law.beta), *([data.printed] if data.printed else [])]
    cloud = data.draws_of(scheme)[["alpha", "beta"]]
    low, high = cloud.quantile(_SHOWN).to_numpy()
    left, bottom = 0.9 * np.vstack([low, *marks]).min(0)
    right, top = 1.1 * np.vstack([high, *marks]).max(0) + 1e-4  # an exponent may be 0 in all draws
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel=f"α, {data.size_axis} N")
    ax.set_title(
        "hierarchical" if scheme == "hierarchical" else f"refits over {scheme}", loc="left"
    )
    x, y = cloud["alpha"], cloud["beta"]
    ax.plot(x, y, "o", color="C0", ms=3, mew=0, alpha=0.15, rasterized=True)
    for ratio in _RATIOS:
        _draw_ray(ax, ratio)
    label = f"fitted: α = {law.alpha:.4f}, β = {law.beta:.4f}"
    ax.plot(law.alpha, law.beta, "X", color="C3", mec="white", ms=9, ls="", label=label)
    if data.printed:
        label = "printed: α = {:g}, β = {:g}".format(*data.printed)
        ax.plot(*data.printed, "D", color="C1", mec="white", ms=7, ls="", label=label)


def _draw_ray(ax: Axes, ratio: float) -> None:
    """Draw the line alpha = ratio * beta, with its name where it leaves the axes."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    ax.axline((0, 0), (ratio, 1), color=GREY, lw=0.9, ls="--", zorder=1)
    end = min(right, ratio * top)
    if end > left and end / ratio > bottom:
        ax.annotate(
            f"r = {ratio}",
            (end, end / ratio),
            xytext=(-3, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            color=DARK,
            fontsize="small",
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )
