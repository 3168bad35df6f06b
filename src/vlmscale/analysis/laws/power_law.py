"""The law error = A N^-alpha T^-beta + D, by exact bounded least squares.

A and D enter linearly: for given exponents they are solved in closed form, which leaves a search over
two numbers (variable projection) for the start. Damped Gauss-Newton steps within the bounds finish it, for
many data sets at once: a bootstrap is one call. There is no randomness here.

The paper writes two amplitudes, A and B; only their product can be determined, and it is A here. On
small ranges of N and T, D trades against the exponents: read alpha and beta together with D and its
bound, and prefer their ratio, which hardly depends on it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from vlmscale.errors import UserError

Floats = NDArray[np.float64]
Bound = Literal["interior", "lower", "upper"]
FloorBound = Literal[Bound, "fixed"]
COLUMNS = ("n_params_b", "visual_tokens", "error")

_NODES = 15  # of the grid for the start, per exponent; denser towards 0, where laws of VLMs lie
_EXPONENTS = (0.0, 1.0)  # range of alpha and beta
_MAX_AMPLITUDE = 10.0
_STEPS = 300
_SETTLED = 1e-13  # relative change of the sum of squares


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law; N is in billions of parameters, T in visual tokens, error in [0, 1]."""

    amplitude: float
    alpha: float
    beta: float
    floor: float  # D
    floor_bound: FloorBound
    exponent_bounds: tuple[Bound, Bound]
    sse: float
    points: int
    converged: bool  # by least squares: a second, unrelated start ends at the same sum of squares

    @property
    def ratio(self) -> float:
        """Alpha / beta: how much faster error falls with log N than with log T."""
        return self.alpha / self.beta if self.beta > 0 else np.inf

    def predict(self, n_params_b: Floats | float, visual_tokens: Floats | float) -> Floats:
        n, t = np.asarray(n_params_b, float), np.asarray(visual_tokens, float)
        return np.asarray(self.amplitude * n**-self.alpha * t**-self.beta + self.floor)


def describe_law(law: PowerLaw) -> dict[str, float | int | str]:
    """What every table says of a law."""
    return {
        "amplitude": law.amplitude,
        "alpha": law.alpha,
        "beta": law.beta,
        "floor": law.floor,
        "ratio": law.ratio,
        "floor_bound": law.floor_bound,
        "sse": law.sse,
        "points": law.points,
    }


def check_points(points: pd.DataFrame, *, where: str = "points") -> None:
    """Raise UserError unless `points` can be fitted.

    Checked are columns, ranges, more than one N and T, and that rows of the same N and T differ in one
    of the columns llm, method, seed.
    """
    values = {}
    for column in COLUMNS:
        if column not in points:
            raise UserError(
                f"{where}: column {column!r} is missing; needed are {', '.join(COLUMNS)}"
            )
        try:
            values[column] = points[column].to_numpy(float, na_value=np.nan)
        except (TypeError, ValueError):
            raise UserError(f"{where}: column {column!r} must hold numbers") from None
        if not np.isfinite(values[column]).all():
            raise UserError(
                f"{where}: column {column!r} has missing or infinite values; drop those rows first"
            )
    if ((values["error"] < 0) | (values["error"] > 1)).any():
        raise UserError(
            f"{where}: errors must lie in [0, 1]; a score is not an error: use 1 - score"
        )
    for column in COLUMNS[:2]:
        if (values[column] <= 0).any():
            raise UserError(f"{where}: column {column!r} must be positive")
        if (values[column] == values[column][:1]).all():
            raise UserError(
                f"{where}: all rows have the same {column}; its exponent needs at least two values"
            )
    if len(points) < 4:
        raise UserError(f"{where}: {len(points)} rows are too few for a law with four parameters")
    names = [*COLUMNS[:2], *(c for c in ("llm", "method", "seed", "budget") if c in points)]
    twice = points[points.duplicated(names)]
    if len(twice):
        n, t = twice[list(COLUMNS[:2])].iloc[0]
        raise UserError(
            f"{where}: two rows for N = {n:g}, T = {t:g}; repeats need a column 'seed' that tells them "
            "apart, else remove one"
        )


def fit_power_law(
    points: pd.DataFrame, *, floor: float | None = None, weights: Floats | None = None
) -> PowerLaw:
    """Least-squares fit of `points` (columns n_params_b, visual_tokens, error).

    floor: a fixed D; by default D is fitted with 0 <= D <= smallest error. weights: one a point, by
    default 1. Raises UserError for points that cannot be fitted.
    """
    check_points(points)
    log_n, log_t, y = take_logs(points)
    w = np.ones_like(y) if weights is None else np.asarray(weights, float)
    low, high = _box(y[None], w[None], floor)
    # Two starts that have nothing in common: the grid, and least squares on ln(error).
    starts = np.vstack([_grid_start(log_n, log_t, y[None], w[None], low, high), _log_start(points)])
    twice = np.ones((2, 1))
    theta, sse = _descend(log_n, log_t, twice * y, twice * w, twice * low, twice * high, starts)
    best = int(sse.argmin())
    converged = bool(abs(sse[0] - sse[1]) <= 1e-10)
    return build_law(theta[best], points, floor=floor, weights=weights, converged=converged)


def build_law(
    theta: Floats,
    points: pd.DataFrame,
    *,
    floor: float | None,
    weights: Floats | None = None,
    converged: bool,
) -> PowerLaw:
    """The law (A, alpha, beta, D), with its bounds and its sum of squares on `points`."""
    log_n, log_t, y = take_logs(points)
    w = np.ones_like(y) if weights is None else np.asarray(weights, float)
    low, high = (box[0] for box in _box(y[None], w[None], floor))
    amplitude, alpha, beta, d = map(float, theta)
    x = np.exp(-alpha * log_n - beta * log_t)
    return PowerLaw(
        amplitude=amplitude,
        alpha=alpha,
        beta=beta,
        floor=d,
        floor_bound=_bound(d, low[3], high[3]) if floor is None else "fixed",
        exponent_bounds=(_bound(alpha, *_EXPONENTS), _bound(beta, *_EXPONENTS)),
        sse=float((w * (amplitude * x + d - y) ** 2).sum()),
        points=len(y),
        converged=converged,
    )


def fit_many(
    log_n: Floats, log_t: Floats, y: Floats, w: Floats, *, floor: Floats | float | None = None
) -> tuple[Floats, Floats]:
    """Fit b data sets on the same design: (A, alpha, beta, D) (b, 4) and sums of squares (b,).

    log_n, log_t (n,); errors y and weights w (b, n). A weight of 0 leaves a point out. floor: a fixed D,
    one for all or one for each (b,).
    """
    low, high = _box(y, w, floor)
    return _descend(log_n, log_t, y, w, low, high, _grid_start(log_n, log_t, y, w, low, high))


def profile_floor(points: pd.DataFrame, floors: Floats) -> pd.DataFrame:
    """The best law at each given D: columns floor, amplitude, alpha, beta, ratio, sse.

    D may be negative here, which shows that the sum of squares has no lowest point without a bound.
    """
    check_points(points)
    log_n, log_t, y = take_logs(points)
    each = np.ones((len(floors), 1))
    theta, sse = fit_many(log_n, log_t, each * y, each * np.ones_like(y), floor=np.asarray(floors))
    table = pd.DataFrame(theta, columns=["amplitude", "alpha", "beta", "floor"])
    table["ratio"] = divide_exponents(table["alpha"], table["beta"])
    return table.assign(sse=sse)[["floor", "amplitude", "alpha", "beta", "ratio", "sse"]]


def divide_exponents(alpha: ArrayLike, beta: ArrayLike) -> Floats:
    """Alpha / beta of many laws; infinite where beta is 0, even if alpha is 0 too."""
    alpha, beta = np.asarray(alpha, float), np.asarray(beta, float)
    return np.divide(alpha, beta, out=np.full_like(alpha, np.inf), where=beta > 0)


def take_logs(points: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Logarithms of N and T, and the error, of `points`, each (n,)."""
    log_n, log_t = (np.log(points[column].to_numpy(float)) for column in COLUMNS[:2])
    return log_n, log_t, points["error"].to_numpy(float)


def solve_linear_part(
    x: Floats, y: Floats, w: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats, Floats]:
    """Best A and D of y = A x + D with 0 <= A <= 10, low <= D <= high, for each row of x.

    x (k, n); y, w (b, n); low, high (b, 1) -> A, D, weighted sum of squares (b, k). Exact: the interior
    solution where it is feasible, else the best of the four edges of the box.
    """
    s_w, s_y, s_yy = (v.sum(-1, keepdims=True) for v in (w, w * y, w * y * y))
    s_x, s_xx, s_xy = w @ x.T, w @ (x * x).T, (w * y) @ x.T
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (s_w * s_xy - s_x * s_y) / (s_w * s_xx - s_x**2)  # not finite for constant x
    d = (s_y - a * s_x) / s_w
    feasible = np.isfinite(a) & (a >= 0) & (a <= _MAX_AMPLITUDE) & (d >= low) & (d <= high)
    everywhere = np.ones_like(feasible)
    candidates = [(np.where(feasible, a, 0.0), np.where(feasible, d, low), feasible)]
    for edge in (low, high):
        on_edge = np.clip((s_xy - edge * s_x) / s_xx, 0, _MAX_AMPLITUDE)
        candidates.append((on_edge, np.broadcast_to(edge, on_edge.shape), everywhere))
    for amplitude in (0.0, _MAX_AMPLITUDE):
        on_edge = np.clip((s_y - amplitude * s_x) / s_w, low, high)
        candidates.append((np.full_like(on_edge, amplitude), on_edge, everywhere))
    amplitudes, offsets, allowed = (np.stack([c[i] for c in candidates]) for i in range(3))
    sse = (
        s_yy
        - 2 * amplitudes * s_xy
        - 2 * offsets * s_y
        + amplitudes**2 * s_xx
        + 2 * amplitudes * offsets * s_x
        + s_w * offsets**2
    )
    sse = np.where(allowed, sse, np.inf)
    best = sse.argmin(0)[None]
    a, d, sse = (np.take_along_axis(v, best, 0)[0] for v in (amplitudes, offsets, sse))
    return a, d, sse


def _box(y: Floats, w: Floats, floor: Floats | float | None) -> tuple[Floats, Floats]:
    """Bounds of (A, alpha, beta, D) for each data set, (b, 4)."""
    low = np.tile([0.0, _EXPONENTS[0], _EXPONENTS[0], 0.0], (len(y), 1))
    high = np.tile([_MAX_AMPLITUDE, _EXPONENTS[1], _EXPONENTS[1], 0.0], (len(y), 1))
    high[:, 3] = np.maximum(
        np.where(w > 0, y, np.inf).min(1), 0.0
    )  # resampled errors may be below 0
    if floor is not None:
        low[:, 3] = high[:, 3] = floor
    return low, high


def _grid_start(
    log_n: Floats, log_t: Floats, y: Floats, w: Floats, low: Floats, high: Floats
) -> Floats:
    """The best exponents (b, 2) on a fixed grid."""
    axis = np.linspace(*_EXPONENTS, _NODES) ** 2
    alpha, beta = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    x = np.exp(-np.outer(alpha, log_n) - np.outer(beta, log_t))
    chunks = [np.s_[i : i + 250] for i in range(0, len(y), 250)]  # bounds the memory
    sse = [solve_linear_part(x, y[c], w[c], low[c, 3:], high[c, 3:])[2].argmin(1) for c in chunks]
    best = np.concatenate(sse)
    return np.column_stack([alpha[best], beta[best]])


def _log_start(points: pd.DataFrame) -> Floats:
    """Exponents (2,) of the law without D by ordinary least squares on ln(error)."""
    log_n, log_t, y = take_logs(points)
    design = np.column_stack([np.ones_like(y), -log_n, -log_t])
    solution = np.linalg.lstsq(design, np.log(np.maximum(y, 1e-6)), rcond=None)[0]
    return np.clip(solution[1:], *_EXPONENTS)


def _descend(
    log_n: Floats,
    log_t: Floats,
    y: Floats,
    w: Floats,
    low: Floats,
    high: Floats,
    exponents: Floats,
) -> tuple[Floats, Floats]:
    """Levenberg-Marquardt within the box, for all data sets side by side.

    A parameter on a bound that the gradient presses against is held there for the step.
    """
    alpha, beta = exponents[:, :1], exponents[:, 1:]
    x = np.exp(-alpha * log_n - beta * log_t)  # (b, n)
    # A rough A and D suffice here: the first step solves for both.
    d = low[:, 3:]
    a = (w * x * (y - d)).sum(1, keepdims=True) / (w * x * x).sum(1, keepdims=True)
    theta = np.clip(np.column_stack([a, alpha, beta, d]), low, high)
    residual, sse = _residual(theta, x, y, w)
    damping = np.full(len(y), 1e-3)
    diagonal = np.arange(4)
    for _ in range(_STEPS):
        jacobian = np.stack(
            [x, -theta[:, :1] * x * log_n, -theta[:, :1] * x * log_t, np.ones_like(x)], axis=2
        )
        weighted = (jacobian * w[:, :, None]).transpose(0, 2, 1)
        gradient = (weighted @ residual[:, :, None])[:, :, 0]
        normal = weighted @ jacobian
        held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        held |= low == high
        scale = normal[:, diagonal, diagonal] * (1 + damping[:, None])
        normal = np.where(held[:, :, None] | held[:, None, :], 0.0, normal)
        normal[:, diagonal, diagonal] = np.where(held | (scale == 0), 1.0, scale)
        step = np.linalg.solve(normal, np.where(held, 0.0, gradient)[:, :, None])[:, :, 0]
        trial = np.clip(theta - step, low, high)
        x_trial = np.exp(-trial[:, 1:2] * log_n - trial[:, 2:3] * log_t)
        residual_trial, sse_trial = _residual(trial, x_trial, y, w)
        better = sse_trial <= sse
        settled = np.abs(sse - sse_trial) <= _SETTLED * sse
        theta = np.where(better[:, None], trial, theta)
        x = np.where(better[:, None], x_trial, x)
        residual = np.where(better[:, None], residual_trial, residual)
        sse = np.where(better, sse_trial, sse)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-14, 1e10)
        if np.all(settled | (damping >= 1e10)):
            break
    return theta, sse


def _residual(theta: Floats, x: Floats, y: Floats, w: Floats) -> tuple[Floats, Floats]:
    residual = theta[:, :1] * x + theta[:, 3:] - y
    return residual, (w * residual**2).sum(1)


def _bound(value: float, low: float, high: float) -> Bound:
    if value - low <= 1e-9:
        return "lower"
    return "upper" if high - value <= 1e-9 else "interior"
