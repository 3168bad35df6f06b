"""Uncertainty of a fitted law, by refitting resampled points.

| scheme   | resamples                                                                          |
|----------|------------------------------------------------------------------------------------|
| cases    | points                                                                             |
| residual | residuals, which are added to the fitted law                                       |
| wild     | signs of residuals                                                                 |
| sizes    | whole LLM sizes: points of a size share one LLM. The honest one, coarse for few    |
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from vlmscale.analysis.frontier import optimal_tokens
from vlmscale.analysis.laws import Floats, PowerLaw, fit_many, logs

Scheme = Literal["cases", "residual", "wild", "sizes"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_PARAMETERS = 4  # of the law, for the inflation of residuals; 3 with a fixed D
_QUANTILES = {"low": 0.025, "median": 0.5, "high": 0.975}


def bootstrap(
    points: pd.DataFrame,
    law: PowerLaw,
    scheme: Scheme,
    *,
    draws: int,
    seed: int,
    floor: float | None = None,
) -> pd.DataFrame:
    """Refit `draws` resamples of `points`, on which `law` was fitted.

    Columns amplitude, alpha, beta, floor, ratio (infinite where beta is 0); one row a draw. `floor` as
    in fit_power_law.
    """
    rng = np.random.default_rng(seed)
    log_n, log_t, y = logs(points)
    n = len(y)
    errors, weights = np.tile(y, (draws, 1)), np.ones((draws, n))
    if scheme == "cases":
        weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    elif scheme == "sizes":
        weights = _size_weights(points["n_params_b"].to_numpy(), draws, rng)
    else:
        fitted = law.predict(np.exp(log_n), np.exp(log_t))
        free = _PARAMETERS - (floor is not None or law.floor_bound != "interior")
        residual = (y - fitted) * np.sqrt(n / (n - free))
        if scheme == "residual":
            residual = residual - residual.mean()
            errors = fitted + residual[rng.integers(n, size=(draws, n))]
        else:
            errors = fitted + residual * rng.choice([-1.0, 1.0], size=(draws, n))
    theta, _ = fit_many(log_n, log_t, errors, weights, floor=floor)
    table = pd.DataFrame(theta, columns=["amplitude", "alpha", "beta", "floor"])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = table["alpha"].to_numpy() / table["beta"].to_numpy()
    return table.assign(ratio=np.where(table["beta"] > 0, ratio, np.inf))


def _size_weights(sizes: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """How often each point is drawn when whole sizes are; draws of a single size are repeated."""
    different, which = np.unique(sizes, return_inverse=True)
    k = len(different)
    counts = rng.multinomial(k, np.full(k, 1 / k), size=draws)
    while (single := (counts > 0).sum(1) < 2).any():
        counts[single] = rng.multinomial(k, np.full(k, 1 / k), size=int(single.sum()))
    return counts[:, which].astype(float)


def intervals(draws: pd.DataFrame, text_tokens: Sequence[int], max_tokens: int) -> pd.DataFrame:
    """95 % percentile intervals: columns quantity, low, median, high.

    Quantities: alpha, beta, floor, ratio, and for each Q > 0 of `text_tokens` the optimal number of
    visual tokens `tokens_at_{Q}` between 1 and max_tokens; and `share_ratio_above_1`, the same number
    three times: the share of draws in which the LLM's size matters more than the tokens.
    """
    quantities = {name: draws[name].to_numpy() for name in ("alpha", "beta", "floor", "ratio")}
    for q in text_tokens:
        if q > 0:
            quantities[f"tokens_at_{q}"] = optimal_tokens(
                quantities["ratio"], q, low=1, high=max_tokens
            )
    # A draw, never a mean of two: infinite ratios stay infinite instead of becoming undefined.
    rows = [
        {
            "quantity": name,
            **{
                key: float(np.quantile(values, level, method="closest_observation"))
                for key, level in _QUANTILES.items()
            },
        }
        for name, values in quantities.items()
    ]
    share = float((quantities["ratio"] > 1).mean())
    rows.append({"quantity": "share_ratio_above_1", "low": share, "median": share, "high": share})
    return pd.DataFrame(rows)
