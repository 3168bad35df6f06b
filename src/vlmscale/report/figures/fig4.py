"""Figure 4 of the paper: large LLMs with few tokens against small ones with many, at about equal cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vlmscale.analysis.collect import select_cells
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.errors import UserError
from vlmscale.report.figures import name_family
from vlmscale.report.figures.style import DARK, finish, new_figure
from vlmscale.study.selection import Selection

Configuration = tuple[str, int]  # LLM, visual tokens


def draw(
    errors: pd.DataFrame,
    *,
    selection: Mapping[str, Any],
    configurations: Sequence[Configuration],
    reference: Configuration,
    title: str,
) -> Figure:
    """Draw the change of each family's score in percent of the reference's, one bar a configuration.

    selection: the fields of a Selection; cells of the same LLM and count are averaged. Costs are of cached
    text, 2 N V. Raises UserError for cells that are missing.
    """
    points = select_cells(select_family_means(errors), Selection(**selection))
    families = {str(name): rows for name, rows in points.groupby("family", sort=False)}
    figure, ((ax,),) = new_figure(1, 1, (2.2 * len(families) + 3.6, 3.7))
    width = 0.8 / len(configurations)
    offsets = width * (np.arange(len(configurations)) - (len(configurations) - 1) / 2)
    for configuration, offset in zip(configurations, offsets, strict=True):
        changes = [change(t, configuration, reference, name) for name, t in families.items()]
        llm, tokens = configuration
        n = points.loc[points["llm"] == llm, "n_params_b"].iloc[0]
        label = f"{llm}, V = {tokens}: {float(prefill_gflops(n, tokens, 0)):.4g}"
        bars = ax.bar(np.arange(len(families)) + offset, changes, 0.92 * width, label=label)
        ax.bar_label(bars, fmt="%+.2f", padding=2, fontsize="small")
    ax.axhline(0, color=DARK, lw=1)
    ax.set_xticks(range(len(families)), [name_family(name) for name in families])
    ax.grid(visible=False, axis="x")
    ax.margins(y=0.12)
    ax.set_ylabel(f"change of score (%) from\n{reference[0]}, V = {reference[1]}")
    bars = ax.get_legend_handles_labels()[0]
    return finish(figure, title, bars, title="2NV in GFLOPs", alignment="left")


def change(
    table: pd.DataFrame, configuration: Configuration, reference: Configuration, family: str
) -> float:
    """Return the percent by which the score of `configuration` exceeds that of `reference`."""
    scores = []
    for llm, tokens in (configuration, reference):
        rows = table[(table["llm"] == llm) & (table["visual_tokens"] == tokens)]
        if rows.empty:
            raise UserError(
                f"Figure 4, {family}: no score of {llm} with {tokens} visual tokens; add the cell to "
                "the grid or choose another configuration"
            )
        scores.append(rows["score"].mean())
    return float(100 * (scores[0] / scores[1] - 1))
