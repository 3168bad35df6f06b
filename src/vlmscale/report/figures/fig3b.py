"""Figure 3b of the paper: cached text, and V = 1 left out, as in the paper's."""

from matplotlib.figure import Figure

from vlmscale.costs.nominal import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import (
    Looks,
    cost_axis,
    count_lines,
    draw_measured,
    entry,
    law_lines,
    llm_lines,
    note,
    predict_error,
    token_range,
)
from vlmscale.report.figures.style import finish, new_figure
from vlmscale.report.format import format_floor


def draw(data: LawData) -> Figure:
    """Draw the law without V = 1, and dashed the law of all counts; all points where there is one law."""
    figure, ((ax,),) = new_figure(1, 1, (6.2, 3.9))
    looks, points, law = Looks.of(data), data.fitted, data.without_one or data.law
    if data.without_one:
        points = points[points["visual_tokens"] > 1]
    draw_measured(ax, points, law, looks, text_tokens=0)
    handles = llm_lines(points, looks)
    if data.without_one:
        for llm, row in points.groupby("llm", sort=False):
            n, tokens = float(row["n_params_b"].iloc[0]), token_range(row)
            cost, error = prefill_gflops(n, tokens, 0), predict_error(data.law.predict, n, tokens)
            ax.plot(cost, error, "--", color=looks.colours[str(llm)], lw=1)
        handles += [entry("law without V = 1")]
        handles += [note(f"α = {law.alpha:.4f}, β = {law.beta:.4f}")]
        handles += [note(f"D = {format_floor(law.floor, law.floor_bound)}")]
        handles += [entry("law of all counts", ls="--")]
    handles += law_lines(data)
    if data.printed:
        handles.append(note("printed: α = {:g}, β = {:g}".format(*data.printed)))
    shown = "without V = 1" if data.without_one else "all token counts"
    ax.set_title(f"Q = 0 text tokens, text cached; {shown}", loc="left")
    cost_axis(ax, data, named=True)
    return finish(figure, data.title, handles, below=count_lines(points, looks))
