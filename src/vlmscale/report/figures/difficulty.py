"""Hard questions: the fewest visual tokens questions need, and the exponents of each part of them."""

from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vlmscale.analysis.laws.intervals import is_inside
from vlmscale.report.figures.panels import entry
from vlmscale.report.figures.style import GREY, ROW, draw_filled_or_open, finish, new_figure

_EXPONENTS = (("alpha", "α"), ("beta", "β"))
_MARKERS = ("o", "s")


def draw(difficulty: pd.DataFrame, fewest_tokens: pd.DataFrame, *, title: str) -> Figure:
    """Draw one row a series: shares of questions by benchmark, and α and β by part.

    difficulty: of fit_parts. fewest_tokens: of count_fewest_tokens.
    """
    series = difficulty["series"].unique()
    bars = fewest_tokens.groupby("series")["benchmark"].nunique()
    height = max(2.2, 0.9 + ROW * (bars.max() if len(bars) else 0))
    rows = max(len(series), 1)
    figure, axes = new_figure(rows, 3, (11.5, 0.6 + height * rows))
    counts = sorted(fewest_tokens["visual_tokens"].unique())
    shades = dict(zip(counts, sns.color_palette("viridis_r", len(counts)), strict=True))
    families = difficulty["family"].unique()
    colours = dict(zip(families, sns.color_palette("colorblind", len(families)), strict=True))
    for row, name in zip(axes, series, strict=False):
        _draw_shares(row[0], fewest_tokens[fewest_tokens["series"] == name], shades)
        row[0].set_title(str(name), loc="left")
        for ax, (exponent, symbol) in zip(row[1:], _EXPONENTS, strict=True):
            _draw_exponent(ax, difficulty[difficulty["series"] == name], exponent, colours)
            ax.set_xlabel(symbol)
        row[2].tick_params(labelleft=False)
    handles: list[Patch | Line2D] = [
        Patch(color=shade, label=_name_count(v, counts)) for v, shade in shades.items()
    ]
    for (family, colour), marker in zip(colours.items(), cycle(_MARKERS), strict=False):
        handles.append(entry(str(family), color=colour, marker=marker))
    return finish(figure, f"{title}: which questions need visual tokens", handles)


def _draw_shares(
    ax: Axes, counted: pd.DataFrame, shades: dict[float, tuple[float, float, float]]
) -> None:
    """Draw one bar a benchmark, from the fewest tokens to the most."""
    names = counted["benchmark"].unique()
    left = np.zeros(len(names))
    for count, mine in counted.groupby("visual_tokens"):
        share = 100 * mine.set_index("benchmark")["share"].reindex(names).fillna(0).to_numpy()
        ax.barh(names, share, left=left, color=shades[float(str(count))], lw=0)
        left += share
    ax.set_xlim(0, 100)
    ax.set_xlabel("questions, %")
    ax.grid(visible=False)
    ax.invert_yaxis()


def _draw_exponent(
    ax: Axes, parts: pd.DataFrame, exponent: str, colours: dict[str, tuple[float, float, float]]
) -> None:
    """Draw an exponent of each part with its interval, families beside each other; open if outside."""
    names = parts["part"].unique().tolist()
    for number, (family, colour) in enumerate(colours.items()):
        mine = parts[parts["family"] == family].set_index("part").reindex(names)
        place = np.arange(len(names)) + 0.25 * (number - (len(colours) - 1) / 2)
        values = mine[[exponent, f"{exponent}_low", f"{exponent}_high"]].to_numpy(float)
        ax.hlines(place, *values[:, 1:].T, color=colour, lw=1.2)
        inside = np.array([is_inside(*row) for row in values])
        marker = _MARKERS[number % len(_MARKERS)]
        draw_filled_or_open(ax, values[:, 0], place, inside, colour, marker)
    ax.axvline(0, color=GREY, lw=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()


def _name_count(count: float, counts: list[float]) -> str:
    if count == 0:
        return "without an image"
    if np.isfinite(count):
        return f"V = {count:.0f}"
    return f"not at {max(filter(np.isfinite, counts)):.0f}"
