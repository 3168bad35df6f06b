"""Error against measured latency beside error against FLOPs, and where the two disagree."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlmscale.report.figures.panels import ERROR_LABEL, entry
from vlmscale.report.figures.style import DARK, GREY, MARKERS, use_house_style

# Time falls by less than half of what FLOPs foresee.
MISLEADS = 2.0


def draw(table: pd.DataFrame, *, title: str, text_tokens: int) -> Figure:
    """A row of panels for each family: by 2 N V, and by time. table: of join_latency."""
    use_house_style()
    families = list(table["family"].unique())
    figure, axes = plt.subplots(
        len(families), 2, figsize=(9.4, 3.5 * len(families)), sharey="row", squeeze=False
    )
    llms = table.groupby("llm")["n_params_b"].first().sort_values().index  # small to large
    colours = dict(zip(llms, sns.color_palette("colorblind", len(llms)), strict=True))
    counts = sorted(table["visual_tokens"].unique())
    markers = {count: MARKERS[i % len(MARKERS)] for i, count in enumerate(counts)}
    for family, (left, right) in zip(families, axes, strict=True):
        rows = table[table["family"] == family]
        for ax, column in ((left, "gflops"), (right, "latency_ms")):
            for row in rows.to_dict("records"):
                look = {"color": colours[row["llm"]], "marker": markers[row["visual_tokens"]]}
                ax.plot(row[column], row["error"], ms=5, mec="white", mew=0.5, zorder=3, **look)
            _mark(ax, rows[rows["surprise"] > MISLEADS], column)
            ax.set_xscale("log")
        if rows["latency_ms"].max() < 10 * rows["latency_ms"].min():  # no two powers of ten to name
            right.xaxis.set_major_formatter("{x:g}")
            right.xaxis.set_minor_formatter("{x:g}")
        left.set(title=f"{family}, by FLOPs", xlabel="GFLOPs per question, 2NV", ylabel=ERROR_LABEL)
        right.set(title=f"{family}, measured", xlabel="milliseconds to the first token")
    handles = [entry(llm, color=colours[llm], marker="o", ls="") for llm in llms]
    handles += [entry(f"V = {v}", color=GREY, marker=markers[v], ls="") for v in counts]
    handles.append(
        entry("FLOPs mislead; tower's\nshare of the time", marker="o", mfc="none", ms=9, ls="")
    )
    figure.legend(handles=handles, loc="outside right upper")
    figure.suptitle(f"{title}: {text_tokens} text tokens, cached", x=0.01, ha="left")
    return figure


def _mark(ax: Axes, misleading: pd.DataFrame, column: str) -> None:
    """Rings, and in the panel of measurements the tower's share."""
    ax.plot(misleading[column], misleading["error"], "o", mfc="none", mec=DARK, ms=10, mew=0.8)
    if column != "latency_ms":
        return
    # At an LLM's fewest tokens, where the tower's share is largest; of several methods the fastest.
    order = misleading.sort_values(["visual_tokens", "latency_ms"])
    for _, row in order.drop_duplicates("llm").iterrows():
        ax.annotate(
            f"{row['tower_share']:.0%}",
            (row["latency_ms"], row["error"]),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize="x-small",
            color=DARK,
        )
