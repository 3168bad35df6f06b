"""What the law leaves unexplained, by token count and by LLM size."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import Looks, count_lines, draw_points, entry, note
from vlmscale.report.figures.style import DARK, use_house_style


def draw(data: LawData) -> Figure:
    """Measured minus fitted error, seeds averaged: one line an LLM, dashed when it was held out."""
    use_house_style()
    points, looks = data.means, Looks.of(data)
    columns = ("visual_tokens", "n_params_b")
    v, n = (points[column].to_numpy(float) for column in columns)
    points = points.assign(residual=points["error"] - data.law.predict(n, v))
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.9), sharey=True)
    labels = ("visual tokens V", f"N in billions, {data.size_axis}")
    # The largest sizes are often close to each other.
    for ax, column, label, turn in zip(axes, columns, labels, (0, 45), strict=True):
        ax.axhline(0, color=DARK, lw=1)
        x = points[column].to_numpy(float)
        draw_points(ax, points, x, points["residual"].to_numpy(float), looks)
        ax.set_xscale("log")
        values = sorted(points[column].unique())
        ax.set_xticks(values, [f"{value:.3g}" for value in values], rotation=turn)
        ax.minorticks_off()
        ax.set_xlabel(label)
    axes[0].set_ylabel("measured error − law")
    handles = []
    for llm, row in points.groupby("llm", sort=False):
        ls = "--" if row["role"].iloc[0] == "holdout" else "-"
        look: dict[str, Any] = {"color": looks.colours[str(llm)], "ls": ls, "lw": 1}
        axes[0].plot(row["visual_tokens"], row["residual"], **look)
        handles.append(entry(f"{llm}, RMSE {_rmse(row):.4f}", **look))
    handles += count_lines(points, looks)
    handles.append(entry("the law", lw=1))
    fitted = points[points["role"] == "fit"]
    handles.append(note(f"RMSE of the fit {_rmse(fitted):.4f}"))
    figure.legend(handles=handles, loc="outside right upper")
    figure.suptitle(data.title, x=0.01, ha="left")
    return figure


def _rmse(rows: pd.DataFrame) -> float:
    return float(np.sqrt((rows["residual"] ** 2).mean()))
