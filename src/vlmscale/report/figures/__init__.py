"""Figures, one a module; each draws what it is given and fits nothing."""

# Of every law, in the order of a report. The workflow plans by these names, so no matplotlib here.
LAW_FIGURES = (
    "fig1",
    "fig2",
    "fig3a",
    "fig3b",
    "profile",
    "exponents",
    "optimum",
    "residuals",
)
