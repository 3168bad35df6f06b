"""The best number of visual tokens of a law, at the paper's cost 2 N (q + V), q = Q + G.

At a fixed cost the law's error falls and then rises in V around V* = q / (r - 1), where r = alpha / beta.
Neither A, nor D, nor the budget, nor a constant extra cost enters. The same holds for every form that is a
monotone function of alpha ln N + beta ln V; for others use `optimal_tokens_under`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar

from vlmscale.analysis.laws.points import Floats

# (n_params_b, visual_tokens) -> error
Predict = Callable[[Floats, Floats], Floats]


def optimal_tokens(ratio: ArrayLike, text_tokens: ArrayLike, *, low: float, high: float) -> Floats:
    """Return V* within [low, high] for a ratio alpha / beta, or for many; N is continuous.

    text_tokens: Q, plus G if answers are generated. V* is `high` where ratio <= 1: error falls in V then.
    Without text and with a ratio of 1 every V is as good: V* is NaN.
    """
    excess, q = np.broadcast_arrays(np.asarray(ratio, float) - 1, np.asarray(text_tokens, float))
    best = np.divide(q, excess, out=np.full(excess.shape, np.inf), where=excess > 0)
    return np.where((excess == 0) & (q == 0), np.nan, np.clip(best, low, high))


def optimal_tokens_under(
    predict: Predict, text_tokens: float, gflops: float, *, low: float, high: float
) -> float:
    """Return the V of lowest error at the cost 2 N (q + V) = gflops, for any form; N is continuous."""

    def error(log_v: float | Floats) -> Floats:
        v = np.exp(log_v)
        return predict(np.asarray(gflops / (2 * (text_tokens + v))), v)

    grid = np.linspace(np.log(low), np.log(high), 200)
    best = int(np.argmin(error(grid)))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(error, bounds=around, method="bounded", options={"xatol": 1e-9})
    candidates = np.array([*around, float(found.x)])
    return float(np.exp(candidates[np.argmin(error(candidates))]))


def flat_range(
    alpha: float, beta: float, text_tokens: float, tolerance: float, *, low: float, high: float
) -> tuple[float, float]:
    """Return the smallest and largest V whose error, less D, is within `tolerance` (0.01: 1 %) of the best.

    This holds at any fixed cost; N is continuous, V in [low, high].
    """

    def excess(log_v: float) -> float:
        v = np.exp(log_v)
        return float(alpha * np.log(text_tokens + v) - beta * log_v)

    ratio = alpha / beta if beta > 0 else np.inf
    best = float(np.log(optimal_tokens(ratio, text_tokens, low=low, high=high)))
    if np.isnan(best):
        return low, high
    allowed = excess(best) + np.log1p(tolerance)
    ends = []
    for end in (float(np.log(low)), float(np.log(high))):
        if excess(end) > allowed:
            end = brentq(lambda log_v: excess(log_v) - allowed, *sorted((best, end)), xtol=1e-12)
        ends.append(float(np.exp(end)))
    return ends[0], ends[1]


@dataclass(frozen=True)
class Crossover:
    """The point where two sizes cost and err the same; at a lower cost the smaller one is better."""

    small_tokens: float
    large_tokens: float
    gflops: float


def crossover(small_b: float, large_b: float, ratio: float, text_tokens: float) -> Crossover | None:
    """Return the crossover of LLMs of small_b < large_b billions; None for ratio <= 1.

    There, more visual tokens are always worth a smaller LLM. Token counts may lie outside what a method
    offers: see least_text_tokens.
    """
    if ratio <= 1:
        return None
    rho = large_b / small_b
    large = float(text_tokens * (rho - 1) / (_power(rho, ratio) - rho))
    cost = 2 * large_b * (text_tokens + large)
    return Crossover(rho * (text_tokens + large) - text_tokens, large, cost)


def least_text_tokens(small_b: float, large_b: float, ratio: float) -> float:
    """Return the Q from which the crossover leaves the larger LLM a visual token; infinite if ratio <= 1.

    With shorter text the larger LLM is better wherever both can be afforded.
    """
    if ratio <= 1:
        return np.inf
    rho = large_b / small_b
    return float((_power(rho, ratio) - rho) / (rho - 1))


def _power(rho: float, ratio: float) -> float:
    """Return rho^ratio; infinite where that overflows."""
    with np.errstate(over="ignore"):
        return float(np.float64(rho) ** ratio)
