"""Uncertainty of a fitted law, by refitting resampled points.

| scheme   | resamples                                                                          |
|----------|------------------------------------------------------------------------------------|
| cases    | points                                                                             |
| residual | residuals, which are added to the fitted law                                       |
| wild     | signs of residuals                                                                 |
| sizes    | whole LLM sizes, for points of a size share one LLM; coarse for few sizes          |
| seeds    | training seeds within each (LLM, method, V, budget); needs repeats                 |

From the answers to single questions that an evaluation keeps:

| scheme     | resamples                                                                        |
|------------|----------------------------------------------------------------------------------|
| questions  | questions within each benchmark, the same ones for every cell                    |
| benchmarks | whole benchmarks of the family's average                                         |
"""

from typing import Literal, get_args

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.answers import pivot_answers, resample_means
from vlmscale.analysis.laws.least_squares import fit_many
from vlmscale.analysis.laws.points import Floats, check_points, take_logs
from vlmscale.analysis.laws.power_law import PowerLaw, tabulate_refits
from vlmscale.errors import UserError

Resampling = Literal["cases", "residual", "wild", "sizes", "seeds"]
SampleScheme = Literal["questions", "benchmarks"]
SAMPLE_SCHEMES: tuple[SampleScheme, ...] = get_args(SampleScheme)
PARAMETERS = 4  # of the law, for the inflation of residuals; 3 with a fixed D


def bootstrap(
    points: pd.DataFrame, law: PowerLaw, scheme: Resampling, *, draws: int, seed: int
) -> pd.DataFrame:
    """Refit `draws` resamples of `points`, on which `law` was fitted; a fixed D stays fixed.

    Returns the columns of tabulate_refits, one row a draw. Raises UserError for a scheme that resamples
    residuals where the points leave none.
    """
    rng = np.random.default_rng(seed)
    log_n, log_v, y = take_logs(points)
    n = len(y)
    errors, weights = np.tile(y, (draws, 1)), np.ones((draws, n))
    if scheme == "cases":
        weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    elif scheme == "sizes":
        weights = _size_weights(points["n_params_b"].to_numpy(), draws, rng)
    elif scheme == "seeds":
        weights = _seed_weights(points, draws, rng)
    else:
        fitted = law.predict(np.exp(log_n), np.exp(log_v))
        free = PARAMETERS - (law.floor_bound != "interior")
        if n <= free:
            raise UserError(
                f"{n} points leave no residuals to resample: the law has {free} parameters. Use the "
                "scheme cases or sizes."
            )
        residual = (y - fitted) * np.sqrt(n / (n - free))
        if scheme == "residual":
            residual = residual - residual.mean()
            errors = fitted + residual[rng.integers(n, size=(draws, n))]
        else:
            errors = fitted + residual * rng.choice([-1.0, 1.0], size=(draws, n))
    floor = law.floor if law.floor_bound == "fixed" else None
    return tabulate_refits(fit_many(log_n, log_v, errors, weights, floor=floor)[0])


def bootstrap_samples(
    points: pd.DataFrame, samples: pd.DataFrame, scheme: SampleScheme, *, draws: int, seed: int
) -> pd.DataFrame:
    """Refit errors averaged anew over resampled questions or benchmarks; returns as bootstrap() does.

    points: one row a cell, columns cell, n_params_b, visual_tokens, error. samples: columns cell,
    benchmark, id, score, of one family. Every cell gets the same resample. A resample moves a cell's error
    by as much as the mean of its answers' scores, so draws lie around the error also where a metric is no
    such mean (F1, points for pairs of questions). Raises UserError when a cell lacks a question that
    another has.
    """
    check_points(points)
    rng = np.random.default_rng(seed)
    scores = [
        pivot_answers(answers, str(benchmark), points["cell"].to_list())
        for benchmark, answers in samples.groupby("benchmark", sort=True)
    ]
    whole = np.stack([of_cells.mean(1) for of_cells in scores])  # (benchmarks, cells)
    if scheme == "benchmarks":
        k = len(whole)
        chosen = rng.multinomial(k, np.full(k, 1 / k), size=draws) / k
        average = np.einsum("db,bc->dc", chosen, whole)
    else:
        average = np.mean([resample_means(of_cells, draws, rng) for of_cells in scores], axis=0)
    log_n, log_v, errors = take_logs(points)
    drawn = errors + whole.mean(0) - average
    return tabulate_refits(fit_many(log_n, log_v, drawn, np.ones_like(drawn))[0])


def _seed_weights(points: pd.DataFrame, draws: int, rng: np.random.Generator) -> Floats:
    """Count how often each point is drawn when the seeds of each (LLM, method, V, budget) are."""
    weights = np.zeros((draws, len(points)))
    named = (c for c in ("llm", "method", "budget") if c in points)
    repeated = ["n_params_b", "visual_tokens", *named]
    for rows in points.groupby(repeated).indices.values():
        k = len(rows)
        weights[:, rows] = rng.multinomial(k, np.full(k, 1 / k), size=draws)
    return weights


def _size_weights(sizes: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Count how often each point is drawn when whole sizes are, at least two of them."""
    different, which = np.unique(sizes, return_inverse=True)
    k = len(different)
    counts = rng.multinomial(k, np.full(k, 1 / k), size=draws)
    while (single := (counts > 0).sum(1) < 2).any():
        counts[single] = rng.multinomial(k, np.full(k, 1 / k), size=int(single.sum()))
    return counts[:, which].astype(float)
