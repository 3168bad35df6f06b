"""Learning curves: how each benchmark's score grows with the steps of stage 2."""

from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlmscale.report.figures.panels import colour_llms, entry
from vlmscale.report.figures.style import DARK, GREY, MARKERS, finish, new_figure

_COLUMNS = 4
_STYLES = ("-", "--", ":", "-.")


def draw(
    errors: pd.DataFrame, chance: pd.DataFrame, trainings: pd.DataFrame, *, title: str
) -> Figure:
    """Draw one panel per benchmark: mean score against steps, one line per LLM, method and V.

    Where some cells were trained for several numbers of steps, the others, which have no curve, are left
    out. errors: of every benchmark, cell by cell. chance: score of a constant answer. trainings: steps of
    runs.
    """
    single = errors[errors["benchmark"] != "mean"]
    steps = trainings[trainings["stage"] == "stage2"].set_index("run")["steps"]
    points = single.assign(steps=single["run"].map(steps))
    lengths = points.groupby(["llm", "method", "visual_tokens"])["steps"].transform("nunique")
    points = points[lengths > 1] if (lengths > 1).any() else points
    names = points["benchmark"].unique()
    rows = -(-len(names) // _COLUMNS)
    figure, axes = new_figure(rows, _COLUMNS, (11.5, 2.7 * rows), sharex=True, sharey=True)
    sizes = points.groupby("llm")["n_params_b"].first().sort_values()
    colours = colour_llms(sizes.index)
    markers = dict(zip(sorted(points["visual_tokens"].unique()), cycle(MARKERS), strict=False))
    styles = dict(zip(sorted(points["method"].unique()), cycle(_STYLES), strict=False))
    panels = axes.flatten()
    for ax, name in zip(panels, names, strict=False):
        mine = points[points["benchmark"] == name]
        for (llm, method, count), curve in mine.groupby(["llm", "method", "visual_tokens"]):
            means = curve.groupby("steps")["score"].mean()
            look = {"marker": markers[count], "ls": styles[method], "color": colours[str(llm)]}
            ax.plot(means, **look, ms=4, lw=1.1)
        level = chance.loc[chance["benchmark"] == name, "chance"]
        ax.axhline(float(level.iloc[0]), color=GREY, ls=":", lw=1)
        ax.set_title(f"{name} ({mine['family'].iloc[0]})", loc="left")
        ax.set_ylim(-0.02, 1.02)
        ax.set_xscale("log")
        ax.set_xticks(sorted(points["steps"].unique()), minor=False, labels=None)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    for ax in panels[max(len(names) - _COLUMNS, 0) : len(names)]:
        ax.tick_params(labelbottom=True)  # also where the panel below is missing
    figure.supxlabel("steps of stage 2")
    figure.supylabel("score")
    handles: list[Line2D] = [entry(llm, color=colour) for llm, colour in colours.items()]
    handles += [entry(str(method), color=DARK, ls=style) for method, style in styles.items()]
    handles.append(entry("a constant answer", color=GREY, ls=":"))
    handles += [entry(f"V = {v}", color=DARK, marker=m, ls="") for v, m in markers.items()]
    return finish(figure, f"{title}: what is learned in how many steps", handles)
