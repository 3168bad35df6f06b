"""The look of every figure, and how it is saved: vector and bitmap, the same bytes for the same data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlmscale.records.files import atomic_path

# One marker for each token count, one colour for each LLM.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
Colour = tuple[float, float, float]
DARK, GREY = "0.15", "0.5"  # what belongs to no LLM
ROW = 0.24  # inches a row takes, in a figure of rows
_BELOW = 8  # entries in a row of a legend below the axes
_DPI = 150  # of bitmaps, and of clouds of points within the vector file


def new_figure(
    rows: int, columns: int, size: tuple[float, float], **shared: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `size` inches in the house style, and its axes (rows, columns)."""
    sns.set_theme(
        context="paper",
        style="ticks",
        palette="colorblind",
        rc={
            "axes.grid": True,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "legend.fontsize": "small",
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,
            "svg.hashsalt": "vlmscale",
        },
    )
    figure = Figure(figsize=size)  # of no window system, and closed by nobody
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def finish(
    figure: Figure,
    title: str,
    handles: Sequence[Artist],
    /,
    *,
    below: Sequence[Artist] = (),
    **legend: Any,
) -> Figure:
    """Add the title and, to the right of the axes, the legend; return the figure.

    below: entries of a second legend, in rows below the axes.
    """
    figure.legend(handles=handles, **{"loc": "outside right upper", **legend})
    if below:
        columns = min(len(below), _BELOW)
        figure.legend(
            handles=below,
            loc="outside lower center",
            ncols=columns,
            columnspacing=1,
            handletextpad=0.2,
        )
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def draw_filled_or_open(
    ax: Axes,
    x: pd.Series | np.ndarray,
    y: pd.Series | np.ndarray,
    filled: pd.Series | np.ndarray,
    colour: str | Colour,
    marker: str = "o",
) -> None:
    """Draw points of one colour; those not `filled` are white inside."""
    for which, face in ((filled, colour), (~filled, "white")):
        ax.plot(x[which], y[which], marker, mfc=face, mec=colour, ms=5)


def save(figure: Figure, pdf: Path, png: Path) -> None:
    """Write the figure to both files."""
    # The layout is slow and the same for both files, so it is made once.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    with atomic_path(pdf) as scratch:
        figure.savefig(scratch, dpi=_DPI, metadata={"CreationDate": None, "Producer": None})
    with atomic_path(png) as scratch:
        figure.savefig(scratch, dpi=_DPI, metadata={"Software": None})
