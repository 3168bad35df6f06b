"""Figure 3b of the paper: cached text, and V = 1 left out, as in the paper's."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from vlmscale.analysis.laws.power_law import PowerLaw
from vlmscale.costs.flops import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import (
    ERROR_LABEL,
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
from vlmscale.report.figures.style import use_house_style


def draw(data: LawData) -> Figure:
    """The law without V = 1, and dashed the law of all counts; all points where there is but one law."""
    use_house_style()
    looks = Looks.of(data)
    points, law = data.fitted, data.law
    if data.without_one:
        points, law = points[points["visual_tokens"] > 1], data.without_one
    figure, ax = plt.subplots(figsize=(6.2, 3.9))
    draw_measured(ax, points, law, looks, text_tokens=0)
    handles = look_lines(points, looks)
    if data.without_one:
        for llm, row in points.groupby("llm", sort=False):
            n, tokens = float(row["n_params_b"].iloc[0]), token_range(row)
            colour = looks.colours[str(llm)]
            ax.plot(
                prefill_gflops(n, tokens, 0), data.law.predict(n, tokens), "--", color=colour, lw=1
            )
        handles += [entry("law without V = 1"), *map(note, _texts(law))]
        handles += [entry("law of all counts", ls="--")]
    handles += law_lines(data)
    if data.printed:
        handles.append(note("printed: α = {:g}, β = {:g}".format(*data.printed)))
    figure.legend(handles=handles, loc="outside right upper")
    shown = "without V = 1" if data.without_one else "all token counts"
    ax.set_title(f"Q = 0 text tokens, text cached; {shown}", loc="left")
    cost_axis(ax, data)
    ax.set_ylabel(ERROR_LABEL)
    figure.suptitle(data.title, x=0.01, ha="left")
    return figure


def _texts(law: PowerLaw) -> tuple[str, str]:
    return f"α = {law.alpha:.4f}, β = {law.beta:.4f}", floor_text(law)
