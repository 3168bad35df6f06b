"""Pieces that several figures share: looks, error against cost, lines of a legend."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import PowerLaw
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.style import DARK, MARKERS, Colour, new_figure
from vlmscale.report.format import format_floor, format_interval

ERROR_LABEL = "average downstream error"


@dataclass(frozen=True)
class Looks:
    """One colour for each LLM, small to large; one marker for each token count."""

    colours: dict[str, Colour]
    markers: dict[int, str]

    @classmethod
    def of(cls, data: LawData) -> "Looks":
        """Return the same looks for every figure of `data`, whichever LLMs it draws."""
        return cls.of_names(data.sizes, data.counts)

    @classmethod
    def of_names(cls, llms: Iterable[str], counts: Iterable[int]) -> "Looks":
        """Return the looks of `llms`, small to large, and of `counts`."""
        markers = {count: MARKERS[i % len(MARKERS)] for i, count in enumerate(counts)}
        return cls(colour_llms(llms), markers)


def colour_llms(llms: Iterable[str]) -> dict[str, Colour]:
    """Return a colour for each LLM, given small to large."""
    names = list(llms)
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))


def cost_panels(data: LawData) -> tuple[Figure, dict[int, Axes]]:
    """Return a figure with empty panels of error against cost, by their Q."""
    count = len(data.text_tokens)
    figure, axes = new_figure(1, count, (3.9 * count + 1.9, 3.9), sharey=True)
    panels = dict(zip(data.text_tokens, axes[0], strict=True))
    for letter, (q, ax) in zip("abcdefgh", panels.items(), strict=False):
        cached = ", text cached" if q == 0 else ""
        ax.set_title(f"({letter}) Q = {q} text tokens{cached}", loc="left")
        cost_axis(ax, data, named=letter == "a")
    return figure, panels


def cost_axis(ax: Axes, data: LawData, *, named: bool) -> None:
    """Make x the cost in GFLOPs; name the errors on y, too, where `named`."""
    ax.set_xscale("log")
    ax.set_xlabel(f"GFLOPs per question, 2N(Q + V), {data.size_axis} N")
    if named:
        ax.set_ylabel(ERROR_LABEL)

    def label(cost: float, _: float) -> str:
        """Label the minor ticks 2 and 5 alone, where powers of ten are too few."""
        low, high = ax.get_xlim()
        digit, exponent = f"{cost:.0e}".split("e")
        if high > 100 * low or digit not in "25":
            return ""
        return rf"${digit}\times10^{{{int(exponent)}}}$"

    ax.xaxis.set_minor_formatter(label)


def draw_points(ax: Axes, points: pd.DataFrame, x: Floats, y: Floats, looks: Looks) -> None:
    """Draw one collection for each token count, labelled by it; x and y as the rows of `points`."""
    colours = points["llm"].map(looks.colours)
    for count, marker in looks.markers.items():
        rows = (points["visual_tokens"] == count).to_numpy()
        if rows.any():
            ax.scatter(
                x[rows],
                y[rows],
                s=32,
                c=colours[rows].tolist(),
                marker=marker,
                edgecolors="white",
                linewidths=0.5,
                label=f"V = {count}",
                zorder=3,
            )


def draw_measured(
    ax: Axes, points: pd.DataFrame, law: PowerLaw, looks: Looks, *, text_tokens: int
) -> None:
    """Draw measured points, and the law of each of their LLMs over its token counts."""
    for llm, row in points.groupby("llm", sort=False):
        n, tokens = float(row["n_params_b"].iloc[0]), token_range(row)
        cost = prefill_gflops(n, tokens, text_tokens)
        ax.plot(cost, predict_error(law.predict, n, tokens), color=looks.colours[str(llm)], lw=1)
    cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], text_tokens)
    draw_points(ax, points, cost, points["error"].to_numpy(float), looks)


def predict_error(
    predict: Callable[[float, Floats], Floats], n_params_b: float, visual_tokens: Floats
) -> Floats:
    """Return the errors that a law predicts, missing where they are no errors: below 0 or above 1."""
    error = predict(n_params_b, visual_tokens)
    return np.where((error >= 0) & (error <= 1), error, np.nan)


def token_range(points: pd.DataFrame) -> Floats:
    """Return V from the fewest to the most tokens, for a smooth curve."""
    return np.geomspace(points["visual_tokens"].min(), points["visual_tokens"].max(), 80)


def llm_lines(points: pd.DataFrame, looks: Looks) -> list[Line2D]:
    """Return the legend of the LLMs among `points`."""
    return [entry(str(llm), color=looks.colours[str(llm)]) for llm in points["llm"].unique()]


def count_lines(points: pd.DataFrame, looks: Looks) -> list[Line2D]:
    """Return the legend of the token counts among `points`."""
    counts = sorted(points["visual_tokens"].unique())
    return [
        entry(f"V = {count}", color="0.4", marker=looks.markers[count], ls="") for count in counts
    ]


def law_lines(data: LawData) -> list[Line2D]:
    """Return the legend of the law: exponents with their intervals, and D."""
    texts = []
    for symbol, name in (("α", "alpha"), ("β", "beta")):
        value = format_interval(getattr(data.law, name), *data.interval(name), digits=4)
        texts.append(f"{symbol} = {value}")
    floor = f"D = {format_floor(data.law.floor, data.law.floor_bound)}"
    return [note(text) for text in (*texts, floor, f"95 % intervals: {data.scheme}")]


def entry(label: str, **look: Any) -> Line2D:
    """Return a line of a legend without a counterpart in the axes."""
    return Line2D([], [], label=label, **{"color": DARK, "lw": 1.2, **look})


def note(text: str) -> Line2D:
    """Return a line of a legend with text alone."""
    return entry(text, ls="")
