"""What the law leaves unexplained, by token count and by LLM size."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import Looks, count_lines, draw_points, entry, note
from vlmscale.report.figures.style import DARK, finish, new_figure


def draw(data: LawData) -> Figure:
    """Draw measured minus fitted error, averaged over seeds: one line an LLM, dashed if held out."""
    points, looks = data.means, Looks.of(data)
    v, n = (points[column].to_numpy(float) for column in ("visual_tokens", "n_params_b"))
    points = points.assign(residual=points["error"] - data.law.predict(n, v))
    figure, ((left, right),) = new_figure(1, 2, (9.4, 3.9), sharey=True)
    _draw_residuals(left, points, "visual_tokens", looks)
    _draw_residuals(right, points, "n_params_b", looks)
    right.tick_params("x", rotation=45)  # the largest sizes are often close to each other
    left.set(xlabel="visual tokens V", ylabel="measured error − law")
    right.set_xlabel(f"N in billions, {data.size_axis}")
    handles = []
    for llm, row in points.groupby("llm", sort=False):
        ls = "--" if row["role"].iloc[0] == "holdout" else "-"
        look: dict[str, Any] = {"color": looks.colours[str(llm)], "ls": ls, "lw": 1}
        left.plot(row["visual_tokens"], row["residual"], **look)
        handles.append(entry(f"{llm}, RMSE {_rmse(row):.4f}", **look))
    fitted = points[points["role"] == "fit"]
    handles += [entry("the law", lw=1), note(f"RMSE of the fit {_rmse(fitted):.4f}")]
    return finish(figure, data.title, handles, below=count_lines(points, looks))


def _draw_residuals(ax: Axes, points: pd.DataFrame, column: str, looks: Looks) -> None:
    ax.axhline(0, color=DARK, lw=1)
    x = points[column].to_numpy(float)
    draw_points(ax, points, x, points["residual"].to_numpy(float), looks)
    ax.set_xscale("log")
    values = sorted(points[column].unique())
    ax.set_xticks(values, [f"{value:.3g}" for value in values])
    ax.minorticks_off()


def _rmse(rows: pd.DataFrame) -> float:
    return float(np.sqrt((rows["residual"] ** 2).mean()))
