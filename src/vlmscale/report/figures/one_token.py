"""Where one token stands: errors of methods with few visual tokens against each way to count their cost."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from vlmscale.report.figures.panels import entry
from vlmscale.report.figures.style import DARK, GREY, MARKERS, Colour, finish, new_figure


def draw(
    one_token: pd.DataFrame, *, title: str, benchmarks: Sequence[str] = (), budget: str = "full"
) -> Figure:
    """Draw one row a benchmark (all by default) and one column a mode; a line joins the front.

    one_token: of mark_fronts, of which one training budget is drawn. Recalled scores are hollow.
    """
    table = one_token[one_token["budget"] == budget]
    if table.empty:
        table = one_token[one_token["budget"] == one_token["budget"].min()]
    names = list(benchmarks or dict.fromkeys(table["benchmark"]))
    modes = list(dict.fromkeys(table["mode"]))
    methods = sorted(table["method"].unique())
    colours = dict(zip(methods, sns.color_palette("husl", len(methods)), strict=True))
    counts = sorted(table["visual_tokens"].unique())
    markers = dict(zip(counts, MARKERS, strict=False))
    figure, axes = new_figure(
        len(names), len(modes), (2.0 * len(modes) + 1.8, 0.8 + 1.9 * len(names)), sharey="row"
    )
    for row, name in zip(axes, names, strict=True):
        for ax, mode in zip(row, modes, strict=True):
            mine = table[(table["benchmark"] == name) & (table["mode"] == mode)]
            _draw_panel(ax, mine, colours, markers)
        row[0].set_ylabel(f"{name}\nerror")
    for ax, mode in zip(axes[0], modes, strict=True):
        ax.set_title(mode, loc="left")
    for ax, mode in zip(axes[-1], modes, strict=True):
        ax.set_xlabel("MB an image" if mode == "kept" else "GFLOPs an answer")
    handles = [entry(name, color=colour, marker="o", ls="") for name, colour in colours.items()]
    handles += [entry(f"V = {v}", color=GREY, marker=m, ls="") for v, m in markers.items()]
    handles.append(entry("front", lw=0.8))
    if (table["evidence"] == "recalled").any():
        handles.append(entry("recalled, on no front", marker="o", mfc="none", ls=""))
    return finish(figure, f"{title}: where one token stands", handles)


def _draw_panel(
    ax: Axes, mine: pd.DataFrame, colours: dict[str, Colour], markers: dict[int, str]
) -> None:
    front = mine[mine["on_front"]].sort_values("cost")
    ax.plot(front["cost"], front["error"], color=DARK, lw=0.8, drawstyle="steps-post", zorder=1)
    for row in mine.to_dict("records"):
        colour = colours[row["method"]]
        hollow = row["evidence"] == "recalled"
        ax.plot(
            row["cost"],
            row["error"],
            marker=markers[row["visual_tokens"]],
            color=colour,
            mfc="none" if hollow else colour,
            ms=4.5,
            ls="",
        )
    ax.set_xscale("log")
    ends = mine["cost"].agg(["min", "max"])
    narrow = ends["max"] < 10 * ends["min"]  # no two powers of ten to name
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
