"""Methods beside a baseline, question by question: differences of family scores with intervals."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vlmscale.report.figures.style import DARK, ROW, draw_filled_or_open, new_figure

_ROW = ["method", "visual_tokens", "llm", "budget"]


def draw(paired: pd.DataFrame, *, title: str) -> Figure:
    """Draw one panel a family, one row a method, LLM, token count and budget; more is better.

    paired: of compare_methods. Filled: the difference holds against all others of its family (Holm, 5 %).
    """
    means = paired[paired["benchmark"] == "mean"]
    families = means["family"].unique().tolist()
    rows = means[_ROW].drop_duplicates().sort_values(_ROW, ignore_index=True)
    several = rows["budget"].nunique() > 1
    labels = [
        f"{m}, V = {v}, {llm}" + f", {budget}" * several
        for m, v, llm, budget in rows.itertuples(index=False)
    ]
    panels = max(len(families), 1)
    size = (2.6 + 2.4 * panels, 1.2 + ROW * max(len(rows), 2))
    figure, axes = new_figure(1, panels, size, sharey=True)
    colours = sns.color_palette("colorblind")
    for ax, family, colour in zip(axes[0], families, colours, strict=False):
        shown = rows.merge(means[means["family"] == family], on=_ROW, how="left")
        percent = 100 * shown[["difference", "low", "high"]]
        spread = np.abs(percent[["low", "high"]].sub(percent["difference"], axis=0)).T
        look = {"fmt": "none", "ecolor": colour, "lw": 1}
        ax.errorbar(percent["difference"], shown.index, xerr=spread, **look)
        places, sure = shown.index.to_series(), shown["p_holm"] < 0.05
        draw_filled_or_open(ax, percent["difference"], places, sure, colour)
        ax.axvline(0, color=DARK, lw=1)
        ax.set_xlabel("difference of score,\npercent points")
        ax.set_title(family, loc="left")
    axes[0][0].set_yticks(range(len(labels)), labels)
    axes[0][0].invert_yaxis()
    (baseline,) = means["baseline"].unique() if len(means) else ("no other method",)
    figure.suptitle(f"{title}: methods minus {baseline}", x=0.01, ha="left")
    return figure
