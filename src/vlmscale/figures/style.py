"""The look of every figure, and how it is saved: vector and bitmap, the same bytes for the same data."""

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from vlmscale.provenance import atomic_path

mpl.use("Agg")
# One marker for each token count, one colour for each LLM.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


def use_house_style() -> None:
    sns.set_theme(
        context="paper",
        style="ticks",
        palette="colorblind",
        rc={
            "axes.grid": True,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "pdf.fonttype": 42,
            "svg.hashsalt": "vlmscale",
        },
    )


def save(figure: Figure, pdf: Path, png: Path) -> None:
    with atomic_path(pdf) as scratch:
        figure.savefig(scratch, metadata={"CreationDate": None, "Producer": None})
    with atomic_path(png) as scratch:
        figure.savefig(scratch, dpi=200, metadata={"Software": None})
