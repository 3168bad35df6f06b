"""Figure 3b of the paper: cached text, and V = 1 left out, as in the paper's."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vlmscale.costs.flops import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import (
    Looks,
    cost_axis,
    draw_measured,
    entry,
    floor_text,
    law_lines,
    look_lines,
    note,
    token_range,
)
from vlmscale.report.figures.style import finish, new_figure


def draw(data: LawData) -> Figure:
    """Draw the only panel with its legend."""
    figure, axes = new_figure(1, 1, (6.2, 3.9))
    return finish(figure, data.title, draw_without_one_token(axes[0, 0], data))


def draw_without_one_token(ax: Axes, data: LawData) -> list[Line2D]:
    """Draw the law without V = 1, and dashed the law of all counts; all points where there is one law.

    Returns the legend.
    """
    looks, points, law = Looks.of(data), data.fitted, data.without_one or data.law
    if data.without_one:
        points = points[points["visual_tokens"] > 1]
    draw_measured(ax, points, law, looks, text_tokens=0)
    handles = look_lines(points, looks)
    if data.without_one:
        for llm, row in points.groupby("llm", sort=False):
            n, tokens = float(row["n_params_b"].iloc[0]), token_range(row)
            cost, error = prefill_gflops(n, tokens, 0), data.law.predict(n, tokens)
            ax.plot(cost, error, "--", color=looks.colours[str(llm)], lw=1)
        handles += [entry("law without V = 1")]
        handles += [note(f"α = {law.alpha:.4f}, β = {law.beta:.4f}"), note(floor_text(law))]
        handles += [entry("law of all counts", ls="--")]
    handles += law_lines(data)
    if data.printed:
        handles.append(note("printed: α = {:g}, β = {:g}".format(*data.printed)))
    shown = "without V = 1" if data.without_one else "all token counts"
    ax.set_title(f"Q = 0 text tokens, text cached; {shown}", loc="left")
    cost_axis(ax, data, named=True)
    return handles
