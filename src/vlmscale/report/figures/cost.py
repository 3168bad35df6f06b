"""Plot each training's measured time against the time predicted from FLOPs."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vlmscale.report.figures.panels import colour_llms, entry
from vlmscale.report.figures.style import DARK, GREY, MARKERS, finish, new_figure

_STAGES = {"stage1": "stage 1", "stage2": "stage 2"}


def draw(cost: pd.DataFrame, *, title: str) -> Figure:
    """Draw one point per training; on the line, its share of the time equals its share of FLOPs.

    cost: as returned by cost_table.
    """
    figure, ((ax,),) = new_figure(1, 1, (6.2, 4.2))
    unit, factor = ("hours", 1.0) if cost["hours"].max() > 1 else ("seconds", 3600.0)
    colours = colour_llms(cost.groupby("llm")["trained_parameters"].max().sort_values().index)
    markers = dict(zip(_STAGES, MARKERS, strict=False))
    for (llm, stage), rows in cost.groupby(["llm", "stage"]):
        x, y = factor * rows["predicted_hours"], factor * rows["hours"]
        ax.plot(x, y, markers[str(stage)], color=colours[str(llm)], ms=5, alpha=0.7)
    both = factor * cost[["predicted_hours", "hours"]].to_numpy()
    ends = np.array([both.min() / 1.3, both.max() * 1.3])
    ax.plot(ends, ends, color=DARK, lw=1)
    ax.fill_between(ends, ends / 2, ends * 2, color=GREY, alpha=0.12, lw=0)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set(xlabel=f"predicted {unit}", ylabel=f"measured {unit}")
    handles = [
        *(entry(llm, color=colour, marker="o", ls="") for llm, colour in colours.items()),
        *(entry(_STAGES[s], marker=m, mfc="white", ls="") for s, m in markers.items()),
        entry("as predicted", lw=1),
        entry("within a factor of 2", color=GREY, lw=5, alpha=0.3),
    ]
    return finish(figure, f"{title}: time of each training, by FLOPs and measured", handles)
