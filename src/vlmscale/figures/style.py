"""The look of every figure, and how it is saved: vector and bitmap, the same bytes for the same data."""

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from vlmscale.provenance import atomic_path

mpl.use("Agg")
# One marker for each token count, one colour for each LLM.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
DARK, GREY = "0.15", "0.5"  # what belongs to no LLM
_DPI = 150  # of bitmaps, and of clouds of points within the vector file


def use_house_style() -> None:
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


def save(figure: Figure, pdf: Path, png: Path) -> None:
    # The layout is slow and the same for both files, so it is made once.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    with atomic_path(pdf) as scratch:
        figure.savefig(scratch, dpi=_DPI, metadata={"CreationDate": None, "Producer": None})
    with atomic_path(png) as scratch:
        figure.savefig(scratch, dpi=_DPI, metadata={"Software": None})
