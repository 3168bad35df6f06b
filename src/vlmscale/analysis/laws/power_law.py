"""The law error = A N^-alpha V^-beta + D, fitted by exact bounded least squares.

The paper writes two amplitudes, A and B; only their product is identifiable, called A here. On small ranges
of N and V, D is strongly correlated with the exponents: report alpha and beta with D and its bound, and
prefer their ratio, which hardly depends on D.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vlmscale.analysis.laws.least_squares import EXPONENTS, fit_many, fit_once, parameter_bounds
from vlmscale.analysis.laws.points import (
    COLUMNS,
    Bound,
    Floats,
    check_points,
    check_positive,
    name_bound,
    take_logs,
)

FloorBound = Literal[Bound, "fixed"]


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law; N is in billions of parameters, V in visual tokens, error in [0, 1]."""

    amplitude: float
    alpha: float
    beta: float
    floor: float  # D
    floor_bound: FloorBound  # the bound that D reached, if any
    exponent_bounds: tuple[Bound, Bound]  # those that alpha and beta reached
    sse: float
    points: int
    converged: bool  # a second, unrelated start gave the same sum of squares

    @property
    def ratio(self) -> float:
        """Alpha / beta: how much faster error falls with ln N than with ln V."""
        return self.alpha / self.beta if self.beta > 0 else np.inf

    @property
    def bounds(self) -> str:
        """The bounds that alpha, beta and D reached, in words; "" for none."""
        values = {"alpha": self.alpha, "beta": self.beta, "D": self.floor}
        reached = zip(values.items(), (*self.exponent_bounds, self.floor_bound), strict=True)
        return "; ".join(
            f"{name} at its {bound} bound, {value:.4g}"
            for (name, value), bound in reached
            if bound in ("lower", "upper")
        )

    def predict(self, n_params_b: Floats | float, visual_tokens: Floats | float) -> Floats:
        """Return the error at each (N in billions, V)."""
        n, v = np.asarray(n_params_b, float), np.asarray(visual_tokens, float)
        return np.asarray(self.amplitude * n**-self.alpha * v**-self.beta + self.floor)

    def predict_points(self, points: pd.DataFrame) -> Floats:
        """Return the error at each row of `points` (columns n_params_b, visual_tokens)."""
        return self.predict(*(points[column].to_numpy(float) for column in COLUMNS[:2]))


def fit_power_law(
    points: pd.DataFrame, *, floor: float | None = None, weights: Floats | None = None
) -> PowerLaw:
    """Fit the law to `points` by least squares on the error.

    points: one row per model, columns n_params_b (N in billions), visual_tokens (V), error (1 - score, in
    [0, 1]). floor: a fixed D; by default fits D with 0 <= D <= smallest error. weights: one per point,
    positive, by default 1; the law's sum of squares is unweighted. Raises UserError, naming what is
    missing, if the points cannot determine a law.
    """
    check_points(points)
    log_n, log_v, y = take_logs(points)
    w = np.ones_like(y) if weights is None else np.asarray(weights, float)
    theta, converged = fit_once(log_n, log_v, y, w, floor=floor)
    return build_law(theta, points, floor=floor, converged=converged)


def fit_relative(points: pd.DataFrame, *, floor: float | None = None) -> PowerLaw:
    """Fit the law to relative errors, as fit_power_law does with weights 1 / error^2.

    Raises UserError where an error is 0.
    """
    check_points(points)
    check_positive(points)
    return fit_power_law(points, floor=floor, weights=points["error"].to_numpy(float) ** -2)


def build_law(
    theta: Floats, points: pd.DataFrame, *, floor: float | None, converged: bool
) -> PowerLaw:
    """Return the law with theta = (A, alpha, beta, D), its bounds, and its sum of squares on `points`."""
    log_n, log_v, y = take_logs(points)
    low, high = (bounds[0] for bounds in parameter_bounds(y[None], np.ones((1, len(y))), floor))
    amplitude, alpha, beta, d = map(float, theta)
    x = np.exp(-alpha * log_n - beta * log_v)
    return PowerLaw(
        amplitude=amplitude,
        alpha=alpha,
        beta=beta,
        floor=d,
        floor_bound=name_bound(d, low[3], high[3]) if floor is None else "fixed",
        exponent_bounds=(name_bound(alpha, *EXPONENTS), name_bound(beta, *EXPONENTS)),
        sse=float(((amplitude * x + d - y) ** 2).sum()),
        points=len(y),
        converged=converged,
    )


def profile_floor(points: pd.DataFrame, floors: Floats) -> pd.DataFrame:
    """Refit the law with D fixed at each of `floors`: columns floor, amplitude, alpha, beta, ratio, sse.

    D may be negative here, to show that the sum of squares has no minimum without a lower bound on D.
    """
    check_points(points)
    log_n, log_v, y = take_logs(points)
    each = np.ones((len(floors), 1))
    theta, sse = fit_many(log_n, log_v, each * y, each * np.ones_like(y), floor=np.asarray(floors))
    columns = ["floor", "amplitude", "alpha", "beta", "ratio", "sse"]
    return tabulate_refits(theta).assign(sse=sse)[columns]


def tabulate_refits(theta: Floats) -> pd.DataFrame:
    """Tabulate the parameters (b, 4) of b laws: columns amplitude, alpha, beta, floor, ratio."""
    table = pd.DataFrame(theta, columns=["amplitude", "alpha", "beta", "floor"])
    return table.assign(ratio=divide_exponents(table["alpha"], table["beta"]))


def divide_exponents(alpha: ArrayLike, beta: ArrayLike) -> Floats:
    """Return alpha / beta of many laws; infinite where beta is 0, even if alpha is 0 too."""
    alpha, beta = np.asarray(alpha, float), np.asarray(beta, float)
    return np.divide(alpha, beta, out=np.full_like(alpha, np.inf), where=beta > 0)


def describe_law(law: PowerLaw) -> dict[str, float | int | str]:
    """Return the columns that every table of laws has."""
    names = (
        "amplitude",
        "alpha",
        "beta",
        "floor",
        "ratio",
        "floor_bound",
        "sse",
        "points",
        "bounds",
    )
    return {name: getattr(law, name) for name in names}
