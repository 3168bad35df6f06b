"""The law error = A N^-alpha T^-beta + D, by exact bounded least squares.

A and D enter linearly: for given exponents they are solved in closed form, which leaves a search over
two numbers (variable projection). There is no randomness and no start value.

The paper writes two amplitudes, A and B; only their product can be determined, and it is A here. On
small ranges of N and T, D trades against the exponents: read alpha and beta together with D and its
bound, and prefer their ratio, which hardly depends on it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from vlmscale.errors import UserError

Floats = NDArray[np.float64]
Bound = Literal["interior", "lower", "upper"]
COLUMNS = ("n_params_b", "visual_tokens", "error")

_NODES = 41  # of the search grid, per exponent
_ROUNDS = 14
_SHRINK = 0.375
_EXPONENTS = (0.0, 1.0)  # searched range of alpha and beta
_MAX_AMPLITUDE = 10.0


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law; N is in billions of parameters, T in visual tokens, error in [0, 1]."""

    amplitude: float
    alpha: float
    beta: float
    floor: float  # D
    floor_bound: Bound
    exponent_bounds: tuple[Bound, Bound]
    sse: float
    points: int
    converged: bool  # an independent second start ends at the same sum of squares

    @property
    def ratio(self) -> float:
        """Alpha / beta: how much faster error falls with log N than with log T."""
        return self.alpha / self.beta if self.beta > 0 else np.inf

    def predict(self, n_params_b: Floats | float, visual_tokens: Floats | float) -> Floats:
        n, t = np.asarray(n_params_b, float), np.asarray(visual_tokens, float)
        return np.asarray(self.amplitude * n**-self.alpha * t**-self.beta + self.floor)


def check_points(points: pd.DataFrame, *, where: str = "points") -> None:
    """Raise UserError unless `points` can be fitted: columns, ranges, more than one N and T."""
    for column in COLUMNS:
        if column not in points:
            raise UserError(
                f"{where}: column {column!r} is missing; needed are {', '.join(COLUMNS)}"
            )
        if points[column].isna().any():
            raise UserError(f"{where}: column {column!r} has missing values; drop those rows first")
    if not points["error"].between(0, 1).all():
        raise UserError(
            f"{where}: errors must lie in [0, 1]; a score is not an error: use 1 - score"
        )
    for column in COLUMNS[:2]:
        if (points[column] <= 0).any():
            raise UserError(f"{where}: column {column!r} must be positive")
        if points[column].nunique() < 2:
            raise UserError(
                f"{where}: all rows have the same {column}; its exponent needs at least two values"
            )
    if len(points) < 4:
        raise UserError(f"{where}: {len(points)} rows are too few for a law with four parameters")


def fit_power_law(points: pd.DataFrame, *, floor: float | None = None) -> PowerLaw:
    """Least-squares fit of `points` (columns n_params_b, visual_tokens, error), one weight each.

    floor: a fixed D; by default D is fitted with 0 <= D <= smallest error. Raises UserError for
    points that cannot be fitted.
    """
    check_points(points)
    log_n, log_t = (np.log(points[column].to_numpy(float)) for column in COLUMNS[:2])
    y = points["error"].to_numpy(float)
    floors = (0.0, float(y.min())) if floor is None else (floor, floor)
    alpha, beta = _search(log_n, log_t, y, floors)
    fit = _polish(log_n, log_t, y, floors, alpha, beta)
    second = _polish(log_n, log_t, y, floors, *_log_start(log_n, log_t, y))
    sse = [_sse(log_n, log_t, y, p) for p in (fit, second)]
    best = fit if sse[0] <= sse[1] else second
    amplitude, alpha, beta, d = map(float, best)
    return PowerLaw(
        amplitude=amplitude,
        alpha=alpha,
        beta=beta,
        floor=d,
        floor_bound=_bound(d, floors),
        exponent_bounds=(_bound(alpha, _EXPONENTS), _bound(beta, _EXPONENTS)),
        sse=min(sse),
        points=len(y),
        converged=abs(sse[0] - sse[1]) <= 1e-10,
    )


def linear_part(x: Floats, y: Floats, floors: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """Best A and D of y = A x + D with 0 <= A <= 10 and D within `floors`, for each row of x.

    x (k, n), y (n,) -> A, D, sum of squares (k,). Exact: the interior solution where it is feasible,
    else the best of the four edges of the box.
    """
    n = y.size
    s_x, s_xx, s_xy = x.sum(-1), (x * x).sum(-1), x @ y
    s_y, s_yy = y.sum(), y @ y
    low, high = floors
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (n * s_xy - s_x * s_y) / (n * s_xx - s_x**2)  # not finite for constant x
    d = (s_y - a * s_x) / n
    feasible = np.isfinite(a) & (a >= 0) & (a <= _MAX_AMPLITUDE) & (d >= low) & (d <= high)
    candidates = [(np.where(feasible, a, 0.0), np.where(feasible, d, low), feasible)]
    everywhere = np.ones_like(feasible)
    for edge in floors:
        on_edge = np.clip((s_xy - edge * s_x) / s_xx, 0, _MAX_AMPLITUDE)
        candidates.append((on_edge, np.full_like(on_edge, edge), everywhere))
    for edge in (0.0, _MAX_AMPLITUDE):
        on_edge = np.clip((s_y - edge * s_x) / n, low, high)
        candidates.append((np.full_like(on_edge, edge), on_edge, everywhere))
    amplitudes, offsets = (np.stack([c[i] for c in candidates]) for i in (0, 1))
    sse = (
        s_yy
        - 2 * amplitudes * s_xy
        - 2 * offsets * s_y
        + amplitudes**2 * s_xx
        + 2 * amplitudes * offsets * s_x
        + n * offsets**2
    )
    sse = np.where(np.stack([c[2] for c in candidates]), sse, np.inf)
    best = sse.argmin(0)[None]
    take = [np.take_along_axis(v, best, 0)[0] for v in (amplitudes, offsets, sse)]
    return take[0], take[1], take[2]


def _search(
    log_n: Floats, log_t: Floats, y: Floats, floors: tuple[float, float]
) -> tuple[float, float]:
    """The best exponents on a grid that is recentred on its best node and shrunk, round by round."""
    centre, half = np.array([0.5, 0.5]), 0.5
    for _ in range(_ROUNDS):
        axes = [np.clip(np.linspace(c - half, c + half, _NODES), *_EXPONENTS) for c in centre]
        alpha, beta = (grid.ravel() for grid in np.meshgrid(*axes, indexing="ij"))
        x = np.exp(-np.outer(alpha, log_n) - np.outer(beta, log_t))
        best = linear_part(x, y, floors)[2].argmin()
        centre = np.array([alpha[best], beta[best]])
        half *= _SHRINK
    return float(centre[0]), float(centre[1])


def _log_start(log_n: Floats, log_t: Floats, y: Floats) -> tuple[float, float]:
    """Exponents of the law without D by ordinary least squares on ln(error)."""
    design = np.column_stack([np.ones_like(y), -log_n, -log_t])
    coefficients = np.linalg.lstsq(design, np.log(np.maximum(y, 1e-6)), rcond=None)[0]
    return float(np.clip(coefficients[1], *_EXPONENTS)), float(
        np.clip(coefficients[2], *_EXPONENTS)
    )


def _polish(
    log_n: Floats,
    log_t: Floats,
    y: Floats,
    floors: tuple[float, float],
    alpha: float,
    beta: float,
) -> Floats:
    """(A, alpha, beta, D) at the local optimum next to the given exponents."""
    x = np.exp(-alpha * log_n - beta * log_t)[None]
    a, d, _ = (float(value[0]) for value in linear_part(x, y, floors))
    free_floor = floors[0] < floors[1]

    def unpack(p: Floats) -> Floats:
        return p if free_floor else np.append(p, d)

    def residuals(p: Floats) -> Floats:
        a_, alpha_, beta_, d_ = unpack(p)
        return np.asarray(a_ * np.exp(-alpha_ * log_n - beta_ * log_t) + d_ - y)

    start = np.array([a, alpha, beta, d] if free_floor else [a, alpha, beta])
    low = np.array([0.0, _EXPONENTS[0], _EXPONENTS[0], floors[0]])[: start.size]
    high = np.array([_MAX_AMPLITUDE, _EXPONENTS[1], _EXPONENTS[1], floors[1]])[: start.size]
    inside = np.clip(start, low + 1e-12, high - 1e-12)
    found = least_squares(
        residuals,
        inside,
        bounds=(low, high),
        x_scale=np.array([0.5, 0.05, 0.02, 0.1])[: start.size],
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    fit = unpack(found.x)
    edge = {"lower": floors[0], "upper": floors[1]}.get(_bound(float(fit[3]), floors))
    if free_floor and edge is not None:  # on its bound exactly, and three free parameters again
        return _polish(log_n, log_t, y, (edge, edge), float(fit[1]), float(fit[2]))
    return fit


def _sse(log_n: Floats, log_t: Floats, y: Floats, p: Floats) -> float:
    residual = p[0] * np.exp(-p[1] * log_n - p[2] * log_t) + p[3] - y
    return float(residual @ residual)


def _bound(value: float, bounds: tuple[float, float]) -> Bound:
    if value - bounds[0] <= 1e-9:
        return "lower"
    return "upper" if bounds[1] - value <= 1e-9 else "interior"
