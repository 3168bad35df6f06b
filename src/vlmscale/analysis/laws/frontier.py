"""Pareto fronts of error against cost, of measured cells and of laws."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from vlmscale.analysis.collect import select_cells
from vlmscale.analysis.laws.optimum import Predict
from vlmscale.analysis.laws.points import Floats
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.study.selection import Series


def pareto_front(cost: ArrayLike, error: ArrayLike) -> NDArray[np.int64]:
    """Return the positions of the undominated points, cheapest first.

    A point is kept when its error is below that of every cheaper point; of equal costs, the lowest error.
    """
    cost, error = np.asarray(cost, float), np.asarray(error, float)
    order = np.lexsort((error, cost))
    best = np.minimum.accumulate(np.concatenate([[np.inf], error[order][:-1]]))
    return order[error[order] < best]


def pareto_envelope(
    predict: Predict,
    sizes_b: Sequence[float],
    text_tokens: float,
    *,
    low: float = 1,
    high: float = 576,
) -> pd.DataFrame:
    """Return the Pareto front of a law: the best size at every cost, V being any number in [low, high].

    predict: (n_params_b, visual_tokens) -> error, which must not rise in V. One row a stretch on which one
    size is best, cheapest first: n_params_b, gflops_from, gflops_to, tokens_from, tokens_to, error_from,
    error_to. Stretches leave a gap where one size has `high` tokens and the next is not affordable yet.
    """
    sizes = np.sort(np.asarray(sizes_b, float))
    ends = prefill_gflops(sizes[:, None], [low, high], text_tokens)

    def errors(gflops: Floats) -> Floats:
        """Return the errors (sizes, costs) of each size with the V it affords; infinite below `low`."""
        gflops = np.atleast_1d(gflops)
        tokens = gflops / (2 * sizes[:, None]) - text_tokens
        fitted = predict(sizes[:, None], np.clip(tokens, low, high))
        # With `high` tokens a size gains nothing from more budget.
        return np.where(tokens >= low * (1 - 1e-12), fitted, np.inf)

    # Between its ends every size's error is smooth, so the best size can only change at a size's first
    # affordable cost or where two curves cross; the latter are found between fine steps.
    steps = np.geomspace(ends.min(), ends.max(), 4000)
    steps = np.unique(np.concatenate([steps, ends.ravel()]))
    best = errors(steps).argmin(0)
    bounds = [steps[0]]
    owners = [int(best[0])]
    for i in np.flatnonzero(np.diff(best)):
        left, right, new = steps[i], steps[i + 1], int(best[i + 1])
        for _ in range(60):  # bisection, which also finds a jump
            middle = (left + right) / 2
            left, right = (left, middle) if errors(middle).argmin() == new else (middle, right)
        bounds.append(right)
        owners.append(new)
    bounds.append(steps[-1])
    rows = []
    for owner, start, stop in zip(owners, bounds[:-1], bounds[1:], strict=True):
        stop = min(stop, ends[owner, 1])  # past its last token a size costs no more
        tokens = np.array([start, stop]) / (2 * sizes[owner]) - text_tokens
        fitted = predict(np.full(2, sizes[owner]), tokens)
        rows.append((sizes[owner], start, stop, *tokens, *fitted))
    columns = ["n_params_b", "gflops_from", "gflops_to", "tokens_from", "tokens_to"]
    return pd.DataFrame(rows, columns=[*columns, "error_from", "error_to"])


def tabulate_frontiers(
    errors: pd.DataFrame, series: Series, text_tokens: Sequence[int]
) -> pd.DataFrame:
    """Return the measured Pareto front of each series, family and Q.

    errors: family means, columns llm, n_params_b, method, visual_tokens, budget, family, error; seeds are
    averaged. One row a point on a front, cheapest first, with its cost in GFLOPs.
    """
    frames = []
    axes = ["llm", "n_params_b", "method", "visual_tokens"]
    for name, selection in series.items():
        for family, points in select_cells(errors, selection).groupby("family", sort=False):
            means = points.groupby(axes, as_index=False)["error"].mean()
            for q in text_tokens:
                cost = prefill_gflops(means["n_params_b"], means["visual_tokens"], q)
                front = means.assign(gflops=cost).iloc[pareto_front(cost, means["error"])]
                frames.append(front.assign(series=name, family=family, text_tokens=q))
    return pd.concat(frames, ignore_index=True)
