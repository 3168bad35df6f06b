"""Figures: one module each. They draw what they are given and fit nothing."""

# The workflow plans by these names, so there is no matplotlib here.
# The figures of every law, in the order of a report.
LAW_FIGURES = ("fig1", "fig2", "fig3a", "fig3b", "profile", "exponents", "optimum", "residuals")
# The result tables that each figure is drawn from.
INPUTS = {
    **dict.fromkeys(LAW_FIGURES, ("errors", "laws", "draws", "profile")),
    "fig4": ("errors",),
    "paired": ("paired",),
    "difficulty": ("difficulty", "fewest_tokens"),
    "budget_law": ("budget_law", "lifetime"),
    "cost": ("cost",),
    "one_token": ("one_token",),
    "learning": ("errors", "chance", "trainings"),
    "side_by_side": ("laws", "intervals", "released_laws", "released_intervals"),
    "latency": ("errors", "latency"),
}


def name_family(family: str) -> str:
    """Return what a figure calls a family of benchmarks."""
    return {"ocr": "OCR"}.get(family, family)
