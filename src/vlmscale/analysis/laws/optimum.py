"""From a law to its best number of visual tokens, at the paper's cost 2 N (q + T), q = Q + G.

With N eliminated by the cost, the law's error falls and then rises in T around T* = q / (r - 1), where
r = alpha / beta. Neither A, nor D, nor the budget, nor a constant extra cost enters. The same holds for
every form that is a monotone function of alpha ln N + beta ln T; for others use `optimal_tokens_under`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar

from vlmscale.analysis.laws.power_law import Floats

# (n_params_b, visual_tokens) -> error
Predict = Callable[[Floats, Floats], Floats]


def optimal_tokens(ratio: ArrayLike, text_tokens: ArrayLike, *, low: float, high: float) -> Floats:
    """T* within [low, high] for the ratio alpha / beta of a law, or of many; N continuous.

    `high` when ratio <= 1, since then error falls in T throughout.
    """
    excess, q = np.broadcast_arrays(np.asarray(ratio, float) - 1, np.asarray(text_tokens, float))
    best = np.divide(q, excess, out=np.full(excess.shape, np.inf), where=excess > 0)
    return np.asarray(np.clip(best, low, high))


def optimal_tokens_under(
    predict: Predict, text_tokens: float, gflops: float, *, low: float, high: float
) -> float:
    """T of lowest predicted error at the cost 2 N (q + T) = gflops, for any form; N continuous."""

    def error(log_t: float | Floats) -> Floats:
        t = np.exp(log_t)
        return predict(np.asarray(gflops / (2 * (text_tokens + t))), t)

    grid = np.linspace(np.log(low), np.log(high), 200)
    best = int(np.argmin(error(grid)))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(error, bounds=around, method="bounded", options={"xatol": 1e-9})
    candidates = np.array([*around, float(found.x)])
    return float(np.exp(candidates[np.argmin(error(candidates))]))


def flat_range(
    alpha: float, beta: float, text_tokens: float, tolerance: float, *, low: float, high: float
) -> tuple[float, float]:
    """Smallest and largest T whose error, less D, is within `tolerance` (0.01: 1 %) of the best.

    At any fixed cost, N continuous, T in [low, high].
    """

    def excess(log_t: float) -> float:
        t = np.exp(log_t)
        return float(alpha * np.log(text_tokens + t) - beta * log_t)

    ratio = alpha / beta if beta > 0 else np.inf
    best = float(np.log(optimal_tokens(ratio, text_tokens, low=low, high=high)))
    allowed = excess(best) + np.log1p(tolerance)
    ends = []
    for end in (float(np.log(low)), float(np.log(high))):
        if excess(end) > allowed:
            end = brentq(lambda log_t: excess(log_t) - allowed, *sorted((best, end)), xtol=1e-12)
        ends.append(float(np.exp(end)))
    return ends[0], ends[1]


@dataclass(frozen=True)
class Crossover:
    """Where two sizes cost the same and err the same; below that cost the smaller one is better."""

    small_tokens: float
    large_tokens: float
    gflops: float


def crossover(small_b: float, large_b: float, ratio: float, text_tokens: float) -> Crossover | None:
    """The crossover of LLMs of small_b < large_b billions; None where the law has none.

    There is none for ratio <= 1, where more tokens are always worth a smaller LLM. Token counts may lie
    outside what a compressor offers: see least_text_tokens.
    """
    if ratio <= 1:
        return None
    rho = large_b / small_b
    large = float(text_tokens * (rho - 1) / (_power(rho, ratio) - rho))
    cost = 2 * large_b * (text_tokens + large)
    return Crossover(rho * (text_tokens + large) - text_tokens, large, cost)


def least_text_tokens(small_b: float, large_b: float, ratio: float) -> float:
    """Q from which on the crossover leaves the larger LLM at least one token; infinite if ratio <= 1.

    With shorter text the larger LLM is better wherever both can be afforded.
    """
    if ratio <= 1:
        return np.inf
    rho = large_b / small_b
    return float((_power(rho, ratio) - rho) / (rho - 1))


def _power(rho: float, ratio: float) -> float:
    """Infinite where it is too large for a number."""
    with np.errstate(over="ignore"):
        return float(np.float64(rho) ** ratio)
