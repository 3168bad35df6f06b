"""Figure 1 of the paper: error against inference cost, without text (cached) and with it."""

from matplotlib.figure import Figure

from vlmscale.analysis.laws.frontier import pareto_front
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.report.figures.data import LawData
from vlmscale.report.figures.panels import (
    Looks,
    cost_panels,
    count_lines,
    draw_measured,
    entry,
    law_lines,
    llm_lines,
    note,
    predict_error,
    token_range,
)
from vlmscale.report.figures.style import DARK, finish


def draw(data: LawData) -> Figure:
    """Draw one panel for each Q of the data, and dashed a form that fits clearly better than the law."""
    figure, panels = cost_panels(data)
    points, looks, rival = data.fitted, Looks.of(data), data.rival
    for q, ax in panels.items():
        draw_measured(ax, points, data.law, looks, text_tokens=q)
        for llm, row in points.groupby("llm", sort=False):
            if rival is None:
                break
            n, tokens = float(row["n_params_b"].iloc[0]), token_range(row)
            cost, error = prefill_gflops(n, tokens, q), predict_error(rival.predict, n, tokens)
            ax.plot(cost, error, "--", color=looks.colours[str(llm)], lw=0.8, alpha=0.8)
        cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], q)
        best = pareto_front(cost, points["error"])
        front = points["error"].iloc[best]
        ax.step(cost[best], front, ":", where="post", color=DARK, lw=1.2, zorder=0)
    handles = [*llm_lines(points, looks), entry("Pareto front, measured", ls=":")]
    if rival:
        handles += [
            entry("the law"),
            entry(f"{rival.form.name},", ls="--"),
            note(f"fits better: AICc {rival.gain:.0f} less"),
        ]
    handles += law_lines(data)
    return finish(figure, data.title, handles, below=count_lines(points, looks))
