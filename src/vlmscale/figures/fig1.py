"""Figure 1 of the paper: error against inference cost, without text (cached) and with it."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlmscale.analysis.flops import prefill_gflops
from vlmscale.analysis.frontier import pareto
from vlmscale.analysis.laws import PowerLaw
from vlmscale.figures.style import MARKERS, use_house_style


def draw_figure1(
    points: pd.DataFrame,
    law: PowerLaw,
    spread: pd.DataFrame,
    *,
    text_tokens: Sequence[int],
    title: str,
) -> Figure:
    """One panel for each number of text tokens.

    points: columns llm, n_params_b, method, visual_tokens, error; one row a cell, seeds are averaged.
    spread: intervals of the law, columns scheme, quantity, low, high; those of resampled sizes are
    shown, or of resampled points where two sizes leave nothing to resample.
    """
    use_house_style()
    axes_of_cell = ["llm", "n_params_b", "method", "visual_tokens"]
    means = points.groupby(axes_of_cell)[["error"]].mean().reset_index()
    means = means.sort_values(["n_params_b", "visual_tokens"])
    looks = Looks.of(means)
    figure, axes = plt.subplots(
        1, len(text_tokens), figsize=(4.2 * len(text_tokens) + 1.4, 3.6), sharey=True, squeeze=False
    )
    for panel, (ax, q) in enumerate(zip(axes[0], text_tokens, strict=True)):
        draw_cost_panel(ax, means, law, looks, text_tokens=q)
        cached = ", text cached" if q == 0 else ""
        ax.set_title(f"({'abcdefgh'[panel]}) Q = {q} text tokens{cached}", loc="left")
    axes[0][0].set_ylabel("average downstream error")
    figure.legend(handles=_legend(looks, law, spread), loc="outside right upper", fontsize="small")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@dataclass(frozen=True)
class Looks:
    """One colour for each LLM, small to large; one marker for each token count."""

    colours: dict[str, tuple[float, float, float]]
    markers: dict[int, str]

    @classmethod
    def of(cls, points: pd.DataFrame) -> "Looks":
        llms = points.sort_values("n_params_b")["llm"].unique().tolist()
        counts = sorted(points["visual_tokens"].unique().tolist())
        return cls(
            dict(zip(llms, sns.color_palette("colorblind", len(llms)), strict=True)),
            {count: MARKERS[i % len(MARKERS)] for i, count in enumerate(counts)},
        )


def draw_cost_panel(
    ax: Axes, points: pd.DataFrame, law: PowerLaw, looks: Looks, *, text_tokens: int
) -> None:
    """Measured points, the law of each LLM over its token counts, and the measured Pareto front."""
    cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], text_tokens)
    points = points.assign(cost=cost)
    for llm, colour in looks.colours.items():
        row = points[points["llm"] == llm]
        n = float(row["n_params_b"].iloc[0])
        tokens = np.geomspace(row["visual_tokens"].min(), row["visual_tokens"].max(), 100)
        ax.plot(prefill_gflops(n, tokens, text_tokens), law.predict(n, tokens), color=colour, lw=1)
    sns.scatterplot(
        points,
        x="cost",
        y="error",
        hue="llm",
        style="visual_tokens",
        palette=looks.colours,
        markers=looks.markers,
        legend=False,
        s=34,
        ax=ax,
    )
    front = points.iloc[pareto(points["cost"], points["error"])]
    ax.step(front["cost"], front["error"], ":", where="post", color="0.2", lw=1.2, zorder=0)
    ax.set_xscale("log")
    ax.set_xlabel("GFLOPs per question, 2N(Q + V)")


def _legend(looks: Looks, law: PowerLaw, spread: pd.DataFrame) -> list[Line2D]:
    scheme = "sizes" if len(looks.colours) > 2 else "cases"
    shown = spread[spread["scheme"] == scheme].set_index("quantity")
    bounds: dict[str, list[float]] = shown[["low", "high"]].T.to_dict("list")  # type: ignore[assignment]
    exponents = []
    for symbol, name, value in (("α", "alpha", law.alpha), ("β", "beta", law.beta)):
        low, high = bounds[name]
        exponents.append(f"{symbol} = {value:.4f} [{low:.4f}, {high:.4f}]")
    note = f"D = {law.floor:.3g}" + ("" if law.floor_bound == "interior" else " (bound)")
    handles = [Line2D([], [], color=colour, label=llm) for llm, colour in looks.colours.items()]
    handles += [
        Line2D([], [], color="0.4", marker=marker, ls="", label=f"V = {count}")
        for count, marker in looks.markers.items()
    ]
    handles.append(Line2D([], [], color="0.2", ls=":", label="Pareto front, measured"))
    for text in (*exponents, note, f"95 % intervals over {scheme}"):
        handles.append(Line2D([], [], ls="", label=text))
    return handles
