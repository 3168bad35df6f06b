"""Laws of N, V and training budget drawn from the hierarchical model, as hierarchical.py does without S.

error = a exp(-alpha n - beta v - gamma s) + D + u(LLM) + t(LLM) v + e, where n, v and s are ln N, ln V
and ln S less their means; u, t and e are normal. Priors are those of hierarchical.py, gamma's like alpha's.

A grid of three exponents would be large. For each D and each pair of ratios the posterior is nearly a
multivariate t around its mode; from these, with wider tails and folded at 0, many more laws are proposed
than asked for, and those returned are chosen in proportion to posterior over proposal (sampling importance
resampling), which makes the shape of the proposal immaterial.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import gammaln

from vlmscale.analysis.laws.budget_law import fit_exponents, take_budget_logs
from vlmscale.analysis.laws.hierarchical import list_floors, list_ratios, number_llms
from vlmscale.analysis.laws.least_squares import EXPONENTS
from vlmscale.analysis.laws.llm_covariance import Covariances, Numbers, Sums
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import divide_exponents
from vlmscale.errors import UserError

LEAST_POINTS = 8  # two more than A, alpha, beta, gamma, D and s.d.(e)
_PROPOSED = 20  # laws for each one returned
_PARAMETERS = 4  # a, alpha, beta, gamma
_TAILS = 5  # degrees of freedom of the proposal
_WIDER = 1.3  # its standard deviations beside the mode's
_SPREAD = 0.1  # share of proposals that follow the prior of D and of the ratios
_ROUNDING = 1e-6  # least s.d. of an error, as in hierarchical.py
_NAMES = ["amplitude", "alpha", "beta", "gamma", "floor", "noise", "offset", "slope"]


@dataclass(frozen=True)
class _Modes:
    """The proposal of each pair of D and ratios, flat over both (c,)."""

    log_prior: Floats
    log_weight: Floats  # log posterior mass, approximately
    center: Floats  # (c, 4)
    root: Floats  # Cholesky root of the covariance, (c, 4, 4)


def sample_budget_laws(
    points: pd.DataFrame, *, draws: int, seed: int, floor: float | None = None
) -> pd.DataFrame:
    """Draw laws from the posterior given `points` (as in fit_budget_law).

    LLMs are told apart by column llm, else by size. floor: a fixed D; by default D has its prior. Columns
    amplitude, alpha, beta, gamma, floor, ratio; noise, offset and slope as of sample_laws; center_b, center
    and center_s: N in billions, V and S at n = v = s = 0. Raises UserError where explain_no_draws says why.
    """
    logs, y = take_budget_logs(points)
    if why := explain_no_draws(points):
        raise UserError(why)
    means = logs.mean(1)
    z = logs - means[:, None]
    ratios, ratio_prior = list_ratios(own_slopes=True)
    reach = np.ptp(z[1]) / 2
    model = Covariances(z[1] / reach, number_llms(points), ratios)
    edges, floors, floor_prior = list_floors(y, floor)
    modes = _find_modes(model, z, y, floors, np.log(np.outer(floor_prior, ratio_prior)))

    rng = np.random.default_rng(seed)
    where, theta = _propose(modes, _PROPOSED * draws, rng)
    allowed = (theta[:, 0] > 0) & (theta[:, 1:] <= EXPONENTS[1]).all(1)
    where, theta = where[allowed], theta[allowed]
    k, g = np.divmod(where, len(ratios))
    squares = _sum_squares(model, z, y - floors[k, None], theta, g)
    log_p = modes.log_prior[where] - 0.5 * model.log_det[g] - 0.5 * len(y) * np.log(squares)
    log_p -= _log_density(modes, where, theta)
    chosen = rng.permutation(_resample(log_p, draws, rng))

    k, g, theta = k[chosen], g[chosen], theta[chosen]
    noise = np.sqrt(squares[chosen] / rng.chisquare(len(y), draws))
    # Within its cell D keeps what the points tell: the level and the slopes of the error.
    d = edges[k] + rng.random(draws) * (edges[k + 1] - edges[k])
    stretch = theta[:, 0] / (theta[:, 0] + floors[k] - d)
    exponents = (theta[:, 1:] * stretch[:, None]).clip(*EXPONENTS)
    amplitude = theta[:, 0] / stretch * np.exp(exponents @ means)
    spreads = ratios[g] * noise[:, None] / [1.0, reach]
    drawn = np.column_stack([amplitude, exponents, d, noise, spreads])
    table = pd.DataFrame(drawn, columns=_NAMES)
    table.insert(5, "ratio", divide_exponents(table["alpha"], table["beta"]))
    centers = zip(("center_b", "center", "center_s"), np.exp(means), strict=True)
    return table.assign(**{name: float(value) for name, value in centers})


def explain_no_draws(points: pd.DataFrame) -> str:
    """Say why no laws can be drawn given `points`; "" where they can."""
    error = points["error"]
    if len(points) < LEAST_POINTS:
        return f"{len(points)} points are too few for a law of three exponents; it takes {LEAST_POINTS}"
    if np.ptp(error) == 0:
        return f"every point has the error {error.iloc[0]:g}: it depends on nothing"
    return ""


def _find_modes(
    model: Covariances, z: Floats, y: Floats, floors: Floats, log_prior: Floats
) -> _Modes:
    """Approximate the posterior at each D and pair of ratios. log_prior: (D, g)."""
    weights, centers, roots = [], [], []
    df = len(y) - _PARAMETERS
    for d in floors:
        a, *exponents, _ = fit_exponents(z, y, d, d)
        x = np.exp(-np.asarray(exponents) @ z)
        # Per unit of each column's length: a column may be next to 0.
        columns = np.stack([x, *(-a * x * z)])
        lengths = np.maximum(np.linalg.norm(columns, axis=1), 1e-12)
        jacobian = model.sums(columns / lengths[:, None])
        residual = model.sums(y - d - a * x)
        gradient = model.product(jacobian, residual).T  # (g, 4)
        each = Sums(*(part[:, None] for part in vars(jacobian).values()))
        normal = model.product(each, jacobian).transpose(2, 0, 1) + 1e-9 * np.eye(_PARAMETERS)
        step = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        squares = model.product(residual, residual) - (gradient * step).sum(1)
        squares = np.maximum(squares, len(y) * _ROUNDING**2)
        center = np.array([a, *exponents]) + step / lengths
        center[:, 1:] = center[:, 1:].clip(*EXPONENTS)
        covariance = np.linalg.inv(normal) * (squares / df)[:, None, None]
        centers.append(center)
        roots.append(_WIDER * np.linalg.cholesky(covariance) / lengths[:, None])
        volume = model.log_det + np.linalg.slogdet(normal)[1] + 2 * np.log(lengths).sum()
        weights.append(-0.5 * (volume + df * np.log(squares)))
    return _Modes(
        log_prior.ravel(),
        np.concatenate(weights) + log_prior.ravel(),
        np.concatenate(centers),
        np.concatenate(roots),
    )


def _shares(modes: _Modes) -> Floats:
    """Return the share of proposals of each mode, (c,)."""
    near, prior = (np.exp(w - w.max()) for w in (modes.log_weight, modes.log_prior))
    return np.asarray((1 - _SPREAD) * near / near.sum() + _SPREAD * prior / prior.sum())


def _propose(modes: _Modes, count: int, rng: np.random.Generator) -> tuple[Numbers, Floats]:
    """Return the mode of each proposal, and its (a, alpha, beta, gamma); exponents are folded at 0."""
    where = _resample(np.log(_shares(modes)), count, rng)
    normal = rng.standard_normal((count, _PARAMETERS))
    scale = np.sqrt(_TAILS / rng.chisquare(_TAILS, count))
    step = np.einsum("cij,cj->ci", modes.root[where], normal) * scale[:, None]
    theta = modes.center[where] + step
    theta[:, 1:] = np.abs(theta[:, 1:])
    return where, theta


def _log_density(modes: _Modes, where: Numbers, theta: Floats) -> Floats:
    """Return the log density of proposals, up to a constant, with the share of their mode."""
    inverse = np.linalg.inv(modes.root)
    log_det = np.log(np.abs(np.linalg.det(modes.root)))
    density = np.zeros(len(theta))
    for signs in product((1, -1), repeat=_PARAMETERS - 1):
        away = theta * np.array([1, *signs]) - modes.center[where]
        distance = (np.einsum("cij,cj->ci", inverse[where], away) ** 2).sum(1)
        density += (1 + distance / _TAILS) ** (-0.5 * (_TAILS + _PARAMETERS))
    constant = gammaln(0.5 * (_TAILS + _PARAMETERS)) - gammaln(0.5 * _TAILS)
    return np.asarray(np.log(density) + constant - log_det[where] + np.log(_shares(modes))[where])


def _sum_squares(model: Covariances, z: Floats, y: Floats, theta: Floats, g: Numbers) -> Floats:
    """Return the sum of squares of each law (b,) at its pair of ratios. y: less D, (b, points)."""
    missed = y - theta[:, :1] * np.exp(-theta[:, 1:] @ z)
    squares = np.empty(len(theta))
    for pair in np.unique(g):
        mine = np.flatnonzero(g == pair)
        sums = model.sums(missed[mine])
        squares[mine] = model.product(sums, sums, np.array([pair]))[:, 0]
    return np.asarray(np.maximum(squares, y.shape[1] * _ROUNDING**2))


def _resample(log_weights: Floats, count: int, rng: np.random.Generator) -> Numbers:
    """Draw indices in proportion to exp(log_weights), evenly spread (stratified)."""
    below = np.exp(log_weights - log_weights.max()).cumsum()
    wanted = (np.arange(count) + rng.random(count)) / count * below[-1]
    return np.searchsorted(below, wanted).clip(max=len(below) - 1)
