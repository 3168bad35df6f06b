"""Answers to single questions, and the scores of groups of cells over resampled questions and seeds.

A group is an LLM with a method at a number of visual tokens. Every draw takes the same questions and
seeds for all groups, so that a difference between two of them is paired.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.points import Floats
from vlmscale.errors import UserError

# (benchmark, cells) -> columns cell, id, score: the answers of these cells to its questions
Answers = Callable[[str, Sequence[str]], pd.DataFrame]
_CHUNK = 100  # draws at once, which bounds the memory


@dataclass(frozen=True)
class Scores:
    """Scores in [0, 1] of g groups on b benchmarks, averaged over the seeds that all groups have."""

    measured: Floats  # (g, b)
    drawn: Floats  # (draws, g, b)
    seeds: int
    questions: int  # of all benchmarks


def resample_scores(
    cells: pd.DataFrame, answers: Answers, benchmarks: Sequence[str], *, draws: int, seed: int
) -> Scores | None:
    """Return scores of the groups of `cells`; None unless all share a seed that has these benchmarks.

    cells: one row a cell and benchmark, columns group (0 to g - 1), seed, cell, benchmark, score. Draws
    move a score as in bootstrap_samples. Raises UserError when a cell lacks a question that another has.
    """
    table = cells.pivot(index=["group", "seed"], columns="benchmark", values="score")
    table = table.reindex(columns=list(benchmarks)).dropna()
    groups = cells["group"].nunique()
    shared = table.groupby("seed").size()
    seeds = shared.index[shared == groups]
    if not len(seeds) or not len(benchmarks):
        return None
    order = pd.MultiIndex.from_product([range(groups), seeds], names=["group", "seed"])
    names = cells.drop_duplicates(["group", "seed"]).set_index(["group", "seed"])["cell"][order]
    rng = np.random.default_rng(seed)
    k = len(seeds)
    of_seeds = rng.multinomial(k, np.full(k, 1 / k), size=draws) / k
    measured, drawn, questions = [], [], 0
    for benchmark in benchmarks:
        found = answers(benchmark, names.unique().tolist())
        right = pivot_answers(found, benchmark, names.to_list())
        score = table.loc[order, benchmark].to_numpy(float)
        means = score - right.mean(1) + resample_means(right, draws, rng)
        drawn.append(np.einsum("dgs,ds->dg", means.reshape(draws, groups, k), of_seeds))
        measured.append(score.reshape(groups, k).mean(1))
        questions += right.shape[1]
    return Scores(np.stack(measured, -1), np.stack(drawn, -1), k, questions)


def pivot_answers(
    answers: pd.DataFrame, benchmark: str, cells: Sequence[str], *, questions: int = 1
) -> Floats:
    """Return the score of each cell on each question of a benchmark, (cells, questions).

    answers: columns cell, id, score. questions: the least number there must be. Raises UserError when a
    cell lacks a question that another has.
    """
    table = answers.pivot(index="cell", columns="id", values="score").reindex(list(cells))
    lacking = table.notna().sum(axis=1) < max(questions, table.shape[1])
    if lacking.any():
        raise UserError(
            f"samples of {benchmark}: cell {table.index[lacking][0]} lacks questions that others have; "
            "evaluate it again"
        )
    return table.to_numpy(float)


def resample_means(right: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Average over resampled questions, the same for all cells: (cells, questions) -> (draws, cells)."""
    n = right.shape[1]
    parts = [
        rng.multinomial(n, np.full(n, 1 / n), size=min(_CHUNK, draws - start)) @ right.T / n
        for start in range(0, draws, _CHUNK)
    ]
    return np.concatenate(parts)
