"""The law under other choices of loss, weights, size axis and points.

Each variant changes one thing of the main fit: least squares on the error with 0 <= D <= smallest error.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.forms import FORMS
from vlmscale.analysis.laws.points import take_logs
from vlmscale.analysis.laws.power_law import (
    PowerLaw,
    build_law,
    describe_law,
    fit_power_law,
    fit_relative,
)
from vlmscale.analysis.laws.robust import fit_robust

AXES = {
    "nominal_b": "nominal size",
    "total_b": "all parameters",
    "non_embedding_b": "parameters without embeddings",
}

Fit = Callable[[pd.DataFrame], PowerLaw]


def fit_variants(points: pd.DataFrame) -> pd.DataFrame:
    """Fit every variant to `points` (as in fit_power_law), one row each.

    Columns variant, amplitude, alpha, beta, floor, ratio, floor_bound, sse (of the errors, unweighted),
    points, bounds. Size axes other than n_params_b are tried where `points` has their column (AXES). A
    variant with too few points left has no row, nor has one of ln(error) where an error is 0.
    """
    fits = {**_FITS, **_FITS_OF_LOGS} if (points["error"] > 0).all() else _FITS
    rows: dict[str, tuple[Fit, pd.DataFrame]] = {name: (fit, points) for name, fit in fits.items()}
    for column, axis in AXES.items():
        if column in points and not points[column].equals(points["n_params_b"]):
            rows[f"N: {axis}"] = (fit_power_law, points.assign(n_params_b=points[column]))
    for n in sorted(points["n_params_b"].unique()):
        rows[f"without {_size(n)}"] = (fit_power_law, points[points["n_params_b"] != n])
    several = points[points["visual_tokens"] > 1]
    if len(several) < len(points):
        rows["without V = 1"] = (fit_power_law, several)
    table = []
    for name, (fit, used) in rows.items():
        if min(used[column].nunique() for column in ("n_params_b", "visual_tokens")) < 2:
            continue
        if len(used) >= 4:
            table.append({"variant": name, **describe_law(fit(used))})
    return pd.DataFrame(table)


def _size(n_params_b: float) -> str:
    """Format a number of parameters to three digits."""
    for unit, name in ((1.0, "B"), (1e-3, "M"), (1e-6, "K")):
        if n_params_b >= 0.1 * unit:
            return f"{n_params_b / unit:.3g}{name}"
    return f"{n_params_b * 1e9:.0f}"


def _logs(points: pd.DataFrame) -> PowerLaw:
    (form,) = (form for form in FORMS if form.name == "product, logs")
    amplitude, alpha, beta = form.fit(*take_logs(points))
    theta = np.array([amplitude, alpha, beta, 0.0])
    return build_law(theta, points, floor=0.0, converged=True)


_FITS: dict[str, Fit] = {
    "least squares": fit_power_law,
    "D = 0": lambda points: fit_power_law(points, floor=0.0),
}
_FITS_OF_LOGS: dict[str, Fit] = {
    "least squares on ln(error), D = 0": _logs,
    "relative errors (weights 1/error^2)": fit_relative,
    "Huber on ln(error), 1e-3": lambda points: fit_robust(points, delta=1e-3),
    "Huber on ln(error), 5e-3": lambda points: fit_robust(points, delta=5e-3),
    "Huber on ln(error), 1e-2": lambda points: fit_robust(points, delta=1e-2),
    "absolute ln(error)": lambda points: fit_robust(points, loss="absolute"),
}
