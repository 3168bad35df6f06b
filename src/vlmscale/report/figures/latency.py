"""Error against measured latency beside error against FLOPs, and where the two disagree."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlmscale.analysis.decisions.latency import join_latency
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.report.figures.panels import ERROR_LABEL, Looks, entry
from vlmscale.report.figures.style import DARK, GREY, finish, new_figure

# Time falls by less than half of what FLOPs foresee.
MISLEADS = 2.0


def draw(
    errors: pd.DataFrame, latency: pd.DataFrame, *, title: str, text_tokens: int, budget: str
) -> Figure:
    """Draw the cells of one training budget at one Q, a row of panels a family: by 2 N V, and by time."""
    points = select_family_means(errors)
    points = points[points["budget"] == budget]
    table = join_latency(points, latency, text_tokens=text_tokens)
    families = list(table["family"].unique())
    figure, axes = new_figure(len(families), 2, (9.4, 3.5 * len(families)), sharey="row")
    llms = table.groupby("llm")["n_params_b"].first().sort_values().index  # small to large
    looks = Looks.of_names(llms, sorted(table["visual_tokens"].unique()))
    for family, (left, right) in zip(families, axes, strict=True):
        rows = table[table["family"] == family]
        for ax, column in ((left, "gflops"), (right, "latency_ms")):
            draw_error_by(ax, rows, column, looks)
        if rows["latency_ms"].max() < 10 * rows["latency_ms"].min():  # no two powers of ten to name
            right.xaxis.set_major_formatter("{x:g}")
            right.xaxis.set_minor_formatter("{x:g}")
        left.set(title=f"{family}, by FLOPs", xlabel="GFLOPs per question, 2NV", ylabel=ERROR_LABEL)
        right.set(title=f"{family}, measured", xlabel="milliseconds to the first token")
    handles = [entry(llm, color=c, marker="o", ls="") for llm, c in looks.colours.items()]
    handles += [entry(f"V = {v}", color=GREY, marker=m, ls="") for v, m in looks.markers.items()]
    handles.append(
        entry("FLOPs mislead; tower's\nshare of the time", marker="o", mfc="none", ms=9, ls="")
    )
    return finish(figure, f"{title}: {text_tokens} text tokens, cached", handles)


def draw_error_by(ax: Axes, table: pd.DataFrame, column: str, looks: Looks) -> None:
    """Draw error against `column`; rings mark cells whose time FLOPs mispredict.

    table: one family of join_latency. With column latency_ms the tower's share stands beside.
    """
    for row in table.to_dict("records"):
        look: dict[str, Any] = {
            "color": looks.colours[row["llm"]],
            "marker": looks.markers[row["visual_tokens"]],
        }
        ax.plot(row[column], row["error"], ms=5, mec="white", mew=0.5, zorder=3, **look)
    misleading = table[table["surprise"] > MISLEADS]
    ax.plot(misleading[column], misleading["error"], "o", mfc="none", mec=DARK, ms=10, mew=0.8)
    ax.set_xscale("log")
    ax.margins(y=0.12)  # room for the numbers of the topmost points
    if column != "latency_ms":
        return
    # At an LLM's fewest tokens, where the tower's share is largest; of several methods the fastest.
    order = misleading.sort_values(["visual_tokens", "latency_ms"])
    for row in order.drop_duplicates("llm").to_dict("records"):
        ax.annotate(
            f"{row['tower_share']:.0%}",
            (row["latency_ms"], row["error"]),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize="x-small",
            color=DARK,
        )
