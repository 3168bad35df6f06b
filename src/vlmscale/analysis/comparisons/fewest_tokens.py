"""The fewest visual tokens that a question needs, as a distribution over the questions of a benchmark.

A question needs V tokens if cells answer it at V and at all more tokens, and not at the next fewer. Cells
answer a question if their mean score on it is at least one half. Without an image, V is 0.

One seed's or LLM's cells are held out in turn, the others choose. What the held-out cells gain on the
chosen questions, from the next fewer tokens to V, says how far the choice tells more than chance.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vlmscale.analysis.comparisons.difficulty import Fold, is_answered, list_blind_cells
from vlmscale.analysis.laws.answers import pivot_answers
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.tables import Key, select_family_means, tabulate_each
from vlmscale.study.selection import Series

NEVER = np.inf  # in column visual_tokens: not answered at the most tokens either
_COLUMNS = ["series", "family", "benchmark", "visual_tokens", "questions", "share"]
_COLUMNS += ["score", "score_fewer", "chosen_by"]


def count_fewest_tokens(
    errors: pd.DataFrame, samples: pd.DataFrame, series: Series
) -> pd.DataFrame:
    """Count the questions of each benchmark by the fewest visual tokens they need.

    errors: of tabulate_errors. samples: of tabulate_samples. Only V that all LLMs and seeds of a series
    have are counted.

    Columns series, family, benchmark, visual_tokens (0 without an image, infinite for questions that are
    answered at no V), questions (mean over folds), share; score of the held-out cells on these questions at
    V (at the most tokens where V is infinite) and score_fewer, at the next fewer: NaN without an image,
    whose cells only choose, and where nothing is held out; chosen_by: "other seeds", "other LLMs", or "all
    cells".
    """
    cells = select_family_means(errors).drop_duplicates("cell")

    def count(points: pd.DataFrame, key: Key) -> pd.DataFrame:
        blind = list_blind_cells(cells, points["budget"].iloc[0])
        of_group = points.groupby(["llm", "seed"])["visual_tokens"].agg(set)
        rungs = sorted(set.intersection(*of_group))
        ladder = points[points["visual_tokens"].isin(rungs)]
        folds, chosen_by = _hold_out(ladder)
        by_cell = dict(zip(ladder["cell"], ladder["visual_tokens"].astype(int), strict=True))
        by_cell |= dict.fromkeys(blind, 0)
        mine = samples[(samples["family"] == key[1]) & samples["cell"].isin(by_cell)]
        tables = [
            _count_benchmark(answers, str(benchmark), folds, blind, by_cell)
            for benchmark, answers in mine.groupby("benchmark", sort=False)
            if rungs
        ]
        counted = pd.concat(tables) if tables else pd.DataFrame(columns=_COLUMNS[2:-1])
        return counted.assign(chosen_by=chosen_by)

    return tabulate_each(select_family_means(errors), series, count).reindex(columns=_COLUMNS)


def _hold_out(points: pd.DataFrame) -> tuple[list[Fold], str]:
    """Hold out each seed or, of one seed, each LLM in turn; nothing where there is one of both."""
    for column, name in (("seed", "other seeds"), ("llm", "other LLMs")):
        if points[column].nunique() > 1:
            held = [points[column] == value for value in points[column].unique()]
            return [
                Fold(tuple(points.loc[~out, "cell"]), tuple(points.loc[out, "cell"]))
                for out in held
            ], name
    return [Fold(tuple(points["cell"]), ())], "all cells"


def _count_benchmark(
    answers: pd.DataFrame,
    benchmark: str,
    folds: Sequence[Fold],
    blind: Sequence[str],
    by_cell: dict[str, int],
) -> pd.DataFrame:
    """Count one benchmark's questions by V. by_cell: the V of each cell."""
    names = list(by_cell)
    right = pivot_answers(answers, benchmark, names)
    tokens = np.array([by_cell[name] for name in names])
    rungs = np.unique(tokens)
    counts, at, fewer = np.zeros((3, len(folds), len(rungs) + 1))
    for number, fold in enumerate(folds):
        chooses = np.isin(names, [*blind, *fold.choosers])
        answered = [is_answered(right[chooses & (tokens == v)]) for v in rungs]
        rung = find_fewest(np.stack(answered))
        measured = np.isin(names, fold.measured)
        held = _average_by_rung(right, measured, tokens, rungs)
        for r in range(len(rungs) + 1):
            mine = rung == r
            counts[number, r] = mine.sum()
            at[number, r] = held[min(r, len(rungs) - 1), mine].sum()
            fewer[number, r] = held[r - 1, mine].sum() if 0 < r < len(rungs) else np.nan
    total = counts.sum(0)
    with np.errstate(invalid="ignore"):  # no question, no score
        scores = {"score": at.sum(0) / total, "score_fewer": fewer.sum(0) / total}
    questions = counts.mean(0)
    about = {"benchmark": benchmark, "visual_tokens": [*rungs.astype(float), NEVER]}
    share = questions / right.shape[1]
    return pd.DataFrame({**about, "questions": questions, "share": share, **scores})


def find_fewest(answered: np.ndarray) -> np.ndarray:
    """Return the first rung from which each question is answered at all rungs; their number where none.

    answered: truth values (rungs, questions), by growing V.
    """
    from_here = np.logical_and.accumulate(answered[::-1], axis=0)[::-1]
    return np.asarray((~from_here).sum(0))


def _average_by_rung(
    right: Floats, measured: np.ndarray, tokens: np.ndarray, rungs: np.ndarray
) -> Floats:
    """Average the measured cells of each V, (rungs, questions); NaN where it has none."""
    held = np.full((len(rungs), right.shape[1]), np.nan)
    for r, v in enumerate(rungs):
        if (cells := measured & (tokens == v)).any():
            held[r] = right[cells].mean(0)
    return held
