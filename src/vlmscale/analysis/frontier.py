"""Which (N, V) are worth their cost."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from vlmscale.analysis.flops import prefill_gflops


def pareto(cost: ArrayLike, error: ArrayLike) -> NDArray[np.int64]:
    """Positions of the undominated points, cheapest first.

    A point is kept when its error is below that of every cheaper point; of equal cost, the lowest.
    """
    cost, error = np.asarray(cost, float), np.asarray(error, float)
    order = np.lexsort((error, cost))
    best = np.minimum.accumulate(np.concatenate([[np.inf], error[order][:-1]]))
    return order[error[order] < best]


def optimal_tokens(
    ratio: ArrayLike, text_tokens: float, *, low: float, high: float
) -> NDArray[np.float64]:
    """The number of visual tokens of lowest error at any fixed cost 2 N (Q + V), N continuous.

    ratio: alpha / beta of a law, or of many. T* = Q / (ratio - 1), within [low, high]; `high` when
    ratio <= 1, since then error falls in T throughout. Neither A, nor D, nor the budget enters.
    """
    excess = np.asarray(ratio, float) - 1
    best = np.divide(text_tokens, excess, out=np.full_like(excess, np.inf), where=excess > 0)
    return np.asarray(np.clip(best, low, high))


def frontier_table(
    errors: pd.DataFrame, series: Mapping[str, Sequence[str]], text_tokens: Sequence[int]
) -> pd.DataFrame:
    """The measured Pareto front of each series (name -> methods), family and text length.

    errors: family means, columns llm, n_params_b, method, visual_tokens, family, error; seeds are
    averaged. One row a point on a front, cheapest first, with its cost in GFLOPs.
    """
    frames = []
    axes = ["llm", "n_params_b", "method", "visual_tokens"]
    for name, methods in series.items():
        mine = errors[errors["method"].isin(methods)]
        for family, points in mine.groupby("family", sort=False):
            means = points.groupby(axes, as_index=False)["error"].mean()
            for q in text_tokens:
                cost = prefill_gflops(means["n_params_b"], means["visual_tokens"], q)
                front = means.assign(gflops=cost).iloc[pareto(cost, means["error"])]
                frames.append(front.assign(series=name, family=family, text_tokens=q))
    return pd.concat(frames, ignore_index=True)
