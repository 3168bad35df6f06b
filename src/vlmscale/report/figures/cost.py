"""What each training of a study took, against what was predicted of it before."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vlmscale.report.figures.panels import entry
from vlmscale.report.figures.style import DARK, GREY, MARKERS, use_house_style

_STAGES = {"stage1": "stage 1", "stage2": "stage 2"}


def draw(cost: pd.DataFrame, *, title: str) -> Figure:
    """Measured over predicted time, one point a training: a colour for each LLM, a marker for each stage.

    cost: of cost_table. On the line a training took its share of the study's time by FLOPs alone.
    """
    use_house_style()
    unit, factor = ("hours", 1.0) if cost["hours"].max() > 1 else ("seconds", 3600.0)
    figure, ax = plt.subplots(figsize=(6.2, 4.2))
    llms = cost.groupby("llm")["trained_parameters"].max().sort_values().index  # small to large
    colours = dict(zip(llms, sns.color_palette("colorblind", len(llms)), strict=True))
    markers = dict(zip(_STAGES, MARKERS, strict=False))
    for (llm, stage), rows in cost.groupby(["llm", "stage"]):
        x, y = factor * rows["predicted_hours"], factor * rows["hours"]
        ax.plot(x, y, markers[str(stage)], color=colours[llm], ms=5, alpha=0.7)
    both = factor * cost[["predicted_hours", "hours"]].to_numpy()
    ends = np.array([both.min() / 1.3, both.max() * 1.3])
    ax.plot(ends, ends, color=DARK, lw=1)
    ax.fill_between(ends, ends / 2, ends * 2, color=GREY, alpha=0.12, lw=0)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set_xlabel(f"predicted {unit}")
    ax.set_ylabel(f"measured {unit}")
    handles = [entry(llm, color=colours[llm], marker="o", ls="") for llm in llms]
    handles += [
        entry(name, marker=markers[stage], mfc="white", ls="") for stage, name in _STAGES.items()
    ]
    handles += [
        entry("as predicted", lw=1),
        entry("within a factor of 2", color=GREY, lw=5, alpha=0.3),
    ]
    figure.legend(handles=handles, loc="outside right upper")
    figure.suptitle(f"{title}: time of each training, by FLOPs and measured", x=0.01, ha="left")
    return figure
