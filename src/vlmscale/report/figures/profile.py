"""How little the points say about D, and what of the law depends on it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.style import DARK, GREY, new_figure

# Exponents lie on each other when the ratio is stable, so they differ in more than colour.
_QUANTITIES = (
    ("α", "alpha", "C0", "-"),
    ("β", "beta", "C1", (0, (4, 3))),
    ("α / β", "ratio", "C2", "-"),
)


def draw(data: LawData) -> Figure:
    """Draw sum of squares, exponents and their ratio at each D, all relative to the fitted law."""
    table, law = data.profile, data.law
    figure, ((top,), (bottom,)) = new_figure(2, 1, (6.2, 4.8), sharex=True)
    top.plot(table["floor"], table["sse"] / law.sse, color=DARK, lw=1.2)
    top.set_ylabel("sum of squares\n/ of the fitted law")
    for symbol, name, colour, style in _QUANTITIES:
        value = float(getattr(law, name))
        if 0 < value < np.inf:
            label = f"{symbol} = {value:.4g} at the fitted D"
            bottom.plot(
                table["floor"], table[name] / value, color=colour, ls=style, lw=1.4, label=label
            )
    bottom.set_ylabel("value / of the fitted law")
    bottom.set_xlabel("D, held fixed")
    for ax in (top, bottom):
        _draw_bounds(ax, data)
    top.legend(loc="upper left")
    bottom.legend(handles=bottom.get_lines()[:-2], loc="upper left")
    figure.suptitle(data.title, x=0.01, ha="left")
    return figure


def _draw_bounds(ax: Axes, data: LawData) -> None:
    """Draw the fitted D and what bounds it."""
    law, left = data.law, float(data.profile["floor"].min())
    smallest = float(data.points.query("role == 'fit'")["error"].min())
    bound = "" if law.floor_bound == "interior" else ", at its bound"
    low, high = ax.dataLim.intervaly
    if high > 3 * low:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    ax.axvspan(min(left, 0), 0, color=GREY, alpha=0.15, lw=0, label="D < 0: excluded")
    ax.axvline(smallest, color=GREY, ls="--", lw=1, label="smallest error: upper bound of D")
    ax.axvline(law.floor, color=DARK, ls=":", lw=1.2, label=f"fitted D = {law.floor:.3g}{bound}")
    ax.set_xlim(left, smallest + 0.02 * (smallest - left))
