"""Methods beside a baseline, question by question: differences of family scores with intervals."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vlmscale.report.figures.style import DARK, ROW, draw_filled_or_open, use_house_style


def draw(paired: pd.DataFrame, *, title: str) -> Figure:
    """One panel a family, one row a method, LLM, token count and budget; more is better.

    paired: of compare_methods. Filled: the difference holds against all others of its family (Holm, 5 %).
    """
    use_house_style()
    means = paired[paired["benchmark"] == "mean"]
    families = means["family"].unique().tolist()
    axes_of_row = ["method", "visual_tokens", "llm", "budget"]
    rows = means[axes_of_row].drop_duplicates().sort_values(axes_of_row, ignore_index=True)
    several = rows["budget"].nunique() > 1
    labels = [
        f"{m}, V = {v}, {llm}" + f", {budget}" * several
        for m, v, llm, budget in rows.itertuples(index=False)
    ]
    figure, axes = plt.subplots(
        1,
        max(len(families), 1),
        figsize=(2.6 + 2.4 * max(len(families), 1), 1.2 + ROW * max(len(rows), 2)),
        sharey=True,
        squeeze=False,
    )
    colours = sns.color_palette("colorblind")
    for ax, family, colour in zip(axes[0], families, colours, strict=False):
        shown = rows.merge(means[means["family"] == family], on=axes_of_row, how="left")
        percent = shown[["difference", "low", "high"]] * 100
        spread = np.abs(percent[["low", "high"]].sub(percent["difference"], axis=0)).T
        ax.errorbar(
            percent["difference"], shown.index, xerr=spread, fmt="none", ecolor=colour, lw=1
        )
        draw_filled_or_open(
            ax, percent["difference"], shown.index.to_series(), shown["p_holm"] < 0.05, colour
        )
        ax.axvline(0, color=DARK, lw=1)
        ax.set_title(family, loc="left")
        ax.set_xlabel("difference of score,\npercent points")
    axes[0][0].set_yticks(range(len(labels)), labels)
    axes[0][0].invert_yaxis()
    (baseline,) = means["baseline"].unique() if len(means) else ("no other method",)
    figure.suptitle(f"{title}: methods minus {baseline}", x=0.01, ha="left")
    return figure
