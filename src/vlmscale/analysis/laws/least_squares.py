"""Least squares of error = A N^-alpha V^-beta + D within bounds, for many data sets at once.

A and D enter linearly: for given exponents they are solved in closed form, which leaves a search over two
numbers (variable projection) for the start. Damped Gauss-Newton steps within the bounds finish it. There
is no randomness here.
"""

import numpy as np

from vlmscale.analysis.laws.points import Floats

EXPONENTS = (0.0, 1.0)  # range of alpha and beta
_NODES = 15  # of the grid for the start, per exponent; denser towards 0, where laws of VLMs lie
_STEPS = 300
_SETTLED = 1e-13  # relative change of the sum of squares


def fit_once(
    log_n: Floats, log_v: Floats, y: Floats, w: Floats, *, floor: float | None
) -> tuple[Floats, bool]:
    """Fit one data set from two unrelated starts: (A, alpha, beta, D), and whether both end alike.

    log_n, log_v, errors y and weights w: (n,). floor: a fixed D; None: fitted.
    """
    low, high = parameter_bounds(y[None], w[None], floor)
    starts = np.vstack(
        [_grid_start(log_n, log_v, y[None], w[None], low, high), _log_start(log_n, log_v, y)]
    )
    twice = np.ones((2, 1))
    theta, sse = _descend(log_n, log_v, twice * y, twice * w, twice * low, twice * high, starts)
    return theta[int(sse.argmin())], bool(abs(sse[0] - sse[1]) <= 1e-10)


def fit_many(
    log_n: Floats, log_v: Floats, y: Floats, w: Floats, *, floor: Floats | float | None = None
) -> tuple[Floats, Floats]:
    """Fit b data sets on the same design: (A, alpha, beta, D) (b, 4) and sums of squares (b,).

    log_n, log_v: (n,). Errors y and weights w: (b, n); a weight of 0 leaves a point out. floor: a fixed
    D, one for all or one for each (b,); None: fitted.
    """
    low, high = parameter_bounds(y, w, floor)
    return _descend(log_n, log_v, y, w, low, high, _grid_start(log_n, log_v, y, w, low, high))


def fit_linear(log_n: Floats, log_v: Floats, y: Floats, *more: Floats) -> Floats:
    """Fit y = c - a ln N - b ln V + ... of `more` terms by ordinary least squares: c, a, b, ..."""
    design = np.column_stack([np.ones_like(y), -log_n, -log_v, *more])
    return np.asarray(np.linalg.lstsq(design, y, rcond=None)[0])


def solve_linear_part(
    x: Floats, y: Floats, w: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats, Floats]:
    """Solve y = A x + D for the best A >= 0 and low <= D <= high, for each row of x.

    x (k, n); y, w (b, n); low, high (b, 1) -> A, D, weighted sum of squares (b, k). Exact: the interior
    solution where it is feasible, else the best of the three edges.
    """
    s_w, s_y, s_yy = (v.sum(-1, keepdims=True) for v in (w, w * y, w * y * y))
    s_x, s_xx, s_xy = w @ x.T, w @ (x * x).T, (w * y) @ x.T
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (s_w * s_xy - s_x * s_y) / (s_w * s_xx - s_x**2)  # not finite for constant x
    d = (s_y - a * s_x) / s_w
    feasible = np.isfinite(a) & (a >= 0) & (d >= low) & (d <= high)
    everywhere = np.ones_like(feasible)
    candidates = [(np.where(feasible, a, 0.0), np.where(feasible, d, low), feasible)]
    for edge in (low, high):
        on_edge = np.maximum((s_xy - edge * s_x) / s_xx, 0.0)
        candidates.append((on_edge, np.broadcast_to(edge, on_edge.shape), everywhere))
    mean = np.broadcast_to(np.clip(s_y / s_w, low, high), a.shape)
    candidates.append((np.zeros_like(a), mean, everywhere))
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


def parameter_bounds(y: Floats, w: Floats, floor: Floats | float | None) -> tuple[Floats, Floats]:
    """Return the lowest and highest (A, alpha, beta, D) of each data set, (b, 4).

    y, w: (b, n). D reaches up to the smallest error of positive weight.
    """
    low = np.tile([0.0, EXPONENTS[0], EXPONENTS[0], 0.0], (len(y), 1))
    high = np.tile([np.inf, EXPONENTS[1], EXPONENTS[1], 0.0], (len(y), 1))
    # Resampled errors may be below 0.
    high[:, 3] = np.maximum(np.where(w > 0, y, np.inf).min(1), 0.0)
    if floor is not None:
        low[:, 3] = high[:, 3] = floor
    return low, high


def _grid_start(
    log_n: Floats, log_v: Floats, y: Floats, w: Floats, low: Floats, high: Floats
) -> Floats:
    """Return the best exponents (b, 2) on a fixed grid."""
    axis = np.linspace(*EXPONENTS, _NODES) ** 2
    alpha, beta = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    x = np.exp(-np.outer(alpha, log_n) - np.outer(beta, log_v))
    chunks = [np.s_[i : i + 250] for i in range(0, len(y), 250)]  # bounds the memory
    sse = [solve_linear_part(x, y[c], w[c], low[c, 3:], high[c, 3:])[2].argmin(1) for c in chunks]
    best = np.concatenate(sse)
    return np.column_stack([alpha[best], beta[best]])


def _log_start(log_n: Floats, log_v: Floats, y: Floats) -> Floats:
    """Return the exponents (2,) of the law without D by ordinary least squares on ln(error)."""
    return np.clip(fit_linear(log_n, log_v, np.log(np.maximum(y, 1e-6)))[1:], *EXPONENTS)


def _descend(
    log_n: Floats, log_v: Floats, y: Floats, w: Floats, low: Floats, high: Floats, exponents: Floats
) -> tuple[Floats, Floats]:
    """Run Levenberg-Marquardt within the bounds, for all data sets side by side.

    A parameter on a bound that the gradient presses against is held there for the step.
    """
    alpha, beta = exponents[:, :1], exponents[:, 1:]
    x = np.exp(-alpha * log_n - beta * log_v)  # (b, n)
    # A rough A and D suffice here: the first step solves for both.
    d = low[:, 3:]
    a = (w * x * (y - d)).sum(1, keepdims=True) / (w * x * x).sum(1, keepdims=True)
    theta = np.clip(np.column_stack([a, alpha, beta, d]), low, high)
    residual, sse = _residual(theta, x, y, w)
    damping = np.full(len(y), 1e-3)
    diagonal = np.arange(4)
    for _ in range(_STEPS):
        jacobian = np.stack(
            [x, -theta[:, :1] * x * log_n, -theta[:, :1] * x * log_v, np.ones_like(x)], axis=2
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
        x_trial = np.exp(-trial[:, 1:2] * log_n - trial[:, 2:3] * log_v)
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
