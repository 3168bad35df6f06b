"""The figures of a law by name."""

from collections.abc import Callable

from matplotlib.figure import Figure

from vlmscale.report.figures import exponents, fig1, fig2, fig3a, fig3b, optimum, profile, residuals
from vlmscale.report.figures.data import LawData

DRAW: dict[str, Callable[[LawData], Figure]] = {
    "fig1": fig1.draw,
    "fig2": fig2.draw,
    "fig3a": fig3a.draw,
    "fig3b": fig3b.draw,
    "profile": profile.draw,
    "exponents": exponents.draw,
    "optimum": optimum.draw,
    "residuals": residuals.draw,
}
