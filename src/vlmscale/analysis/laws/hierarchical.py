"""Laws drawn from the posterior of a hierarchical model: LLMs differ from the law, trainings from LLMs.

error = a exp(-alpha n - beta v) + D + u(LLM) + s(LLM) v + e, where n and v are ln N and ln V less their
means, and u, s and e are normal. All points of an LLM share its offset u and its slope s: a few LLMs tell
the law only so well, however many points each has. A new LLM brings an offset and a slope of its own.

Priors: a, alpha and beta uniform, the exponents in [0, 1]; s.d.(e) log-uniform; D = 0 with probability one
half, else uniform up to the smallest error; s.d.(u) / s.d.(e) half-Cauchy of scale 1, and likewise that of
s times half the range of ln V. Half of the prior sits on D = 0 because scores hardly tell D, and alpha and
beta grow with it.

There is no Markov chain. Given alpha, beta, D and the two ratios, a and s.d.(e) are integrated in closed
form; those five lie on a grid, which is fine where the posterior is. Draws come from its cells.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import log_ndtr, ndtri_exp, stdtr

from vlmscale.analysis.laws.least_squares import EXPONENTS, fit_many
from vlmscale.analysis.laws.llm_covariance import Covariances, Numbers, Sums
from vlmscale.analysis.laws.points import COLUMNS, Floats, check_points, take_logs
from vlmscale.analysis.laws.power_law import tabulate_refits
from vlmscale.errors import UserError

LEAST_POINTS = 6  # one more than A, alpha, beta, D and s.d.(e)
_RATIOS = 12  # values of each ratio, a quadrature of its prior
_FLOORS = 10  # values of D above 0
_NODES = (25, 21)  # values of alpha and of beta, for each D
_SPOTS = np.linspace(0.01, 0.99, 25)  # quantiles of each mode at which its cells are found
_NEGLIGIBLE = 1e-9  # share of the posterior that a value of D with two ratios must have
_TINY = 1e-300  # for logarithms
_ROUNDING = (
    1e-6  # least s.d. of an error: scores that follow a law to the last digit are rounded, too
)


@dataclass(frozen=True)
class _Peak:
    """The posterior at one D by a quadratic around its mode, for each pair of ratios."""

    log_weights: Floats  # (g,)
    exponents: Floats  # alpha and beta of the mode, (g, 2)
    deviations: Floats  # their standard deviations, (g, 2)


@dataclass(frozen=True)
class _Slice:
    """The posterior at one D on cells of alpha, beta and the kept pairs of ratios, (alpha, beta, kept)."""

    kept: Numbers  # pairs of ratios, (kept,)
    alpha: Floats  # edges of the cells
    beta: Floats
    s_xx: Floats  # x'W^-1 x
    level: Floats  # the best a
    squares: Floats  # the sum of squares at that a, in units of W
    log_p: Floats


def sample_laws(
    points: pd.DataFrame,
    *,
    draws: int,
    seed: int,
    floor: float | None = None,
    own_slopes: bool = True,
) -> pd.DataFrame:
    """Draw laws from the posterior given `points` (as in fit_power_law).

    Returns the columns of tabulate_refits and what LLMs and trainings add: noise (s.d. of e), offset (s.d.
    of u), slope (s.d. of s, per unit of ln V); center, center_b: V and N in billions at v = n = 0. LLMs are
    told apart by column llm, else by size. floor: a fixed D; by default D has its prior. own_slopes: False
    leaves s out. Raises UserError for fewer than 6 points, which determine no such model.
    """
    check_points(points)
    if len(points) < LEAST_POINTS:
        raise UserError(
            f"{len(points)} points are too few for the hierarchical model, which needs {LEAST_POINTS}; use "
            "the scheme cases"
        )
    log_n, log_v, y = take_logs(points)
    n, v = log_n - log_n.mean(), log_v - log_v.mean()
    ratios, ratio_prior = list_ratios(own_slopes)
    reach = np.ptp(v) / 2
    model = Covariances(v / reach, number_llms(points), ratios)
    edges, floors, prior = list_floors(y, floor)
    slices = _slice_posterior(model, n, v, y, floors, prior[:, None] * ratio_prior)

    rng = np.random.default_rng(seed)
    parts = []
    for k, count in _share_out({k: one.log_p for k, one in slices.items()}, draws, rng).items():
        one = slices[k]
        i, j, g = _draw_cells(one.log_p, count, rng)
        df = len(y) - 1
        noise = np.sqrt(one.squares[i, j, g] / rng.chisquare(df, count))
        level = one.level[i, j, g] + noise / np.sqrt(one.s_xx[i, j, g]) * _normal_above(
            -one.level[i, j, g] * np.sqrt(one.s_xx[i, j, g]) / noise, rng
        )
        alpha, beta = (_spread(e, c, rng) for e, c in ((one.alpha, i), (one.beta, j)))
        # Within its cell D keeps what the points tell: the level and the slopes of the error.
        d = edges[k] + rng.random(count) * (edges[k + 1] - edges[k])
        stretch = level / (level + floors[k] - d)
        theta = [level / stretch, alpha * stretch, beta * stretch, d]
        parts.append(np.column_stack([*theta, noise, ratios[one.kept[g]] * noise[:, None]]))
    drawn = rng.permutation(np.concatenate(parts))
    drawn[:, 1:3] = drawn[:, 1:3].clip(*EXPONENTS)
    drawn[:, 0] *= np.exp(drawn[:, 1] * log_n.mean() + drawn[:, 2] * log_v.mean())
    return tabulate_refits(drawn[:, :4]).assign(
        noise=drawn[:, 4],
        offset=drawn[:, 5],
        slope=drawn[:, 6] / reach,
        center=float(np.exp(log_v.mean())),
        center_b=float(np.exp(log_n.mean())),
    )


def draw_measurements(draws: pd.DataFrame, cells: pd.DataFrame, *, seed: int) -> Floats:
    """Draw the errors that trainings of LLMs outside the fit would show, (draws, cells).

    draws: of sample_laws; those of a bootstrap know no noise and give the law's errors. cells: columns
    n_params_b, visual_tokens and, for several LLMs, llm; cells of an LLM share its offset and slope, each
    has noise of its own.
    """
    rng = np.random.default_rng(seed)
    absent = {"noise": 0.0, "offset": 0.0, "slope": 0.0, "center": 1.0}
    columns = ["amplitude", "alpha", "beta", "floor", *absent]
    known = draws.reindex(columns=columns).fillna(absent).to_numpy(float)
    a, alpha, beta, d, noise, offset, slope, center = known.T[:, :, None]
    log_n, log_v = (np.log(cells[name].to_numpy(float)) for name in COLUMNS[:2])
    llms = number_llms(cells)
    u, s = rng.standard_normal((2, len(draws), llms.max() + 1))[:, :, llms]
    error = a * np.exp(-alpha * log_n - beta * log_v) + d
    error = error + offset * u + slope * s * (log_v - np.log(center))
    return np.asarray(error + noise * rng.standard_normal(error.shape))


def number_llms(points: pd.DataFrame) -> Numbers:
    """Return a number from 0 for the LLM of each point: by its name, else by its size."""
    return pd.factorize(points["llm" if "llm" in points else "n_params_b"])[0]


def list_ratios(own_slopes: bool) -> tuple[Floats, Floats]:
    """Return pairs of ratios (g, 2) and their prior probabilities: a quadrature of half-Cauchy priors."""
    nodes, weights = np.polynomial.legendre.leggauss(_RATIOS)
    values, weights = np.tan(np.pi / 4 * (nodes + 1)), weights / 2
    slopes, own = (values, weights) if own_slopes else (np.zeros(1), np.ones(1))
    pairs = np.stack(np.meshgrid(values, slopes, indexing="ij"), -1).reshape(-1, 2)
    return pairs, np.outer(weights, own).ravel()


def list_floors(y: Floats, floor: float | None) -> tuple[Floats, Floats, Floats]:
    """Return edges of cells of D, its values in them and their priors; the first cell is D = 0.

    floor: the only D, if given.
    """
    top, mean = float(y.min()), float(y.mean())
    if floor is not None or top <= 0:
        only = floor or 0.0
        return np.array([only, only]), np.array([only]), np.ones(1)
    # The exponents go with 1 / (mean - D), hence equal steps of its logarithm.
    last = min(top, (1 - 1e-3) * mean)
    edges = np.r_[0.0, (mean - np.geomspace(mean, mean - last, _FLOORS + 1))[1:]]
    values = mean - np.sqrt((mean - edges[1:]) * (mean - edges[:-1]))
    return np.r_[0.0, edges], np.r_[0.0, values], np.r_[0.5, 0.5 * np.diff(edges) / last]


def _slice_posterior(
    model: Covariances, n: Floats, v: Floats, y: Floats, floors: Floats, prior: Floats
) -> dict[int, _Slice]:
    """Compute the posterior at each value of D that has a share of it, by its number.

    prior: of each value of D with each pair of ratios, (D, g).
    """
    each = np.ones((len(floors), 1))
    modes, _ = fit_many(n, v, each * y, each * np.ones_like(y), floor=floors)
    peaks = [_find_peak(model, n, v, y, mode) for mode in modes]
    weights = np.stack([peak.log_weights for peak in peaks]) + np.log(prior)
    kept = weights > weights.max() + np.log(_NEGLIGIBLE)
    found = {}
    for k in np.flatnonzero(kept.any(1)):
        peak, mine = peaks[k], np.flatnonzero(kept[k])
        share = np.exp(weights[k, mine] - weights[k, mine].max())
        alpha_edges, beta_edges = (
            _lay_edges(peak.exponents[mine, i], peak.deviations[mine, i], share, _NODES[i])
            for i in range(2)
        )
        alpha, beta = (0.5 * (edges[1:] + edges[:-1]) for edges in (alpha_edges, beta_edges))
        x = model.sums(np.exp(-alpha[:, None, None] * n - beta[:, None] * v))
        rest = model.sums(y - floors[k])
        s_xx, s_xy = model.product(x, x, mine), model.product(x, rest, mine)
        level, df = s_xy / s_xx, len(y) - 1
        squares = model.product(rest, rest, mine) - level * s_xy
        squares = np.maximum(squares, len(y) * _ROUNDING**2)
        log_p = -0.5 * (model.log_det[mine] + np.log(s_xx) + df * np.log(squares))
        area = np.diff(alpha_edges)[:, None] * np.diff(beta_edges)
        log_p += np.log(area)[:, :, None] + np.log(prior[k, mine])
        in_errors = level * np.sqrt(df * s_xx / squares)
        near = in_errors < 8  # elsewhere a is above 0 for certain
        log_p[near] += np.log(np.maximum(stdtr(df, in_errors[near]), _TINY))
        found[int(k)] = _Slice(mine, alpha_edges, beta_edges, s_xx, level, squares, log_p)
    return found


def _find_peak(model: Covariances, n: Floats, v: Floats, y: Floats, theta: Floats) -> _Peak:
    """Approximate the posterior at one D; theta: the least-squares (a, alpha, beta, D) there."""
    a, alpha, beta, d = theta
    x = np.exp(-alpha * n - beta * v)
    # Per unit of each column's length: a column may be next to 0.
    columns = np.stack([x, -a * x * n, -a * x * v])
    lengths = np.maximum(np.linalg.norm(columns, axis=1), 1e-12)
    jacobian = model.sums(columns / lengths[:, None])
    residual = model.sums(y - d - a * x)
    gradient = model.product(jacobian, residual).T  # (g, 3)
    each = Sums(*(part[:, None] for part in vars(jacobian).values()))
    normal = model.product(each, jacobian).transpose(2, 0, 1) + 1e-9 * np.eye(3)  # (g, 3, 3)
    step = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
    df = len(y) - 3
    squares = model.product(residual, residual) - (gradient * step).sum(1)
    squares = np.maximum(squares, len(y) * _ROUNDING**2)
    inverse = np.linalg.inv(normal)[:, range(3), range(3)]
    log_weights = -0.5 * (model.log_det + np.linalg.slogdet(normal)[1] + df * np.log(squares))
    return _Peak(
        log_weights - np.log(lengths).sum(),
        (theta[:3] + step / lengths)[:, 1:],
        (np.sqrt(inverse * squares[:, None] / df) / lengths)[:, 1:],
    )


def _lay_edges(modes: Floats, deviations: Floats, share: Floats, count: int) -> Floats:
    """Return the edges (count + 1) of cells of an exponent, over all its range and small where it may lie.

    modes, deviations: for each kept pair of ratios, with its share of the posterior. Cells are equally
    probable under a mixture of Cauchy distributions around the modes; half of its weights are equal, for a
    wide mode needs cells before it is known to count.
    """
    weights = share / share.sum() + 1 / len(share)
    x = modes + deviations * np.tan(np.pi * (_SPOTS[:, None] - 0.5))
    x = np.unique(np.concatenate([x.clip(*EXPONENTS).ravel(), EXPONENTS]))
    below = np.arctan((x[:, None] - modes) / deviations) @ weights
    wanted = np.linspace(below[0], below[-1], count + 1)
    return np.asarray(np.interp(wanted, below, x))


def _share_out(log_p: dict[int, Floats], draws: int, rng: np.random.Generator) -> dict[int, int]:
    """Return how many of the draws belong to each slice."""
    most = max(float(part.max()) for part in log_p.values())
    mass = np.array([np.exp(part - most).sum() for part in log_p.values()])
    wanted = (np.arange(draws) + rng.random(draws)) / draws * mass.sum()
    counts = np.bincount(np.searchsorted(mass.cumsum(), wanted).clip(max=len(mass) - 1))
    return {k: int(count) for k, count in zip(log_p, counts, strict=False) if count}


def _draw_cells(log_p: Floats, count: int, rng: np.random.Generator) -> tuple[Numbers, ...]:
    """Draw cells in proportion to exp(log_p), evenly spread (stratified)."""
    below = np.exp(log_p - log_p.max()).ravel().cumsum()
    wanted = (np.arange(count) + rng.random(count)) / count * below[-1]
    chosen = np.searchsorted(below, wanted).clip(max=below.size - 1)
    return np.unravel_index(chosen, log_p.shape)


def _spread(edges: Floats, cells: Numbers, rng: np.random.Generator) -> Floats:
    """Draw a value within each cell."""
    return np.asarray(edges[cells] + rng.random(len(cells)) * np.diff(edges)[cells])


def _normal_above(least: Floats, rng: np.random.Generator) -> Floats:
    """Draw standard normal numbers above `least`."""
    return np.asarray(-ndtri_exp(log_ndtr(-least) + np.log(rng.random(len(least)))))
