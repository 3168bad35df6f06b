"""The law on questions that see compression: a family's questions in parts, and the law of each part.

| part        | questions                                                                      |
|-------------|--------------------------------------------------------------------------------|
| all         | all of them                                                                    |
| blind       | answered without an image                                                      |
| image       | not answered without an image                                                  |
| small image | of these, answered from a shrunk image (in a study with method downsample)     |
| large image | of these, not answered from one                                                |
| one token   | of `image`, answered at one visual token                                       |
| more tokens | of `image`, not answered at one visual token                                   |

Where there is no cell without an image, parts below it are of all questions. Images are shrunk before the
vision tower; of cells with such images those of the fewest visual tokens choose, unless a law has them.

Cells that choose answer a question if their mean score on it is at least one half.

Choosing questions and measuring on them never use the same answers. Otherwise "more tokens" would hold the
questions that the measured cells happened to miss at V = 1, and a law would find that V helps where it
does not. Cells without an image are in no law. For one token, the choice is by the first of these:

- other seeds: the questions of a seed are chosen by the other seeds' cells at V = 1;
- cells outside the law: other methods and held-out LLMs at V = 1, unless the law has their trainings;
- other budgets: likewise, of other training budgets.

Never by other LLMs of the law: each LLM would then have questions of its own, chosen by smaller LLMs for
the large and by larger ones for the small, which moves alpha. A part still holds questions that were
guessed right or missed by chance: parts differ less than the questions do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vlmscale.analysis.checks.learning import BLIND
from vlmscale.analysis.laws.answers import pivot_answers
from vlmscale.analysis.laws.intervals import describe_outside, summarize_draws
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.schemes import choose_scheme, draw_laws
from vlmscale.analysis.laws.tables import Key, select_family_means, tabulate_each
from vlmscale.errors import UserError
from vlmscale.study.selection import Series

BY_SMALL, BY_ONE = ("small image", "large image"), ("one token", "more tokens")
PARTS = ("all", "blind", "image", *BY_SMALL, *BY_ONE)
_SMALL = "downsample"  # the method that shrinks images before the tower
LEAST_QUESTIONS = 20  # of a benchmark in a part; the mean score of fewer says little
_QUANTITIES = ("alpha", "beta", "ratio", "floor")
_NO_BLIND = "the study has no cell without an image (method blind)"
_NO_ONE = (
    "no cell at one visual token is left to choose by: it takes several seeds, or another method, a "
    "held-out LLM or another budget at V = 1"
)


@dataclass(frozen=True)
class Fold:
    """Names of cells: those that choose questions, and those that are measured on them."""

    choosers: tuple[str, ...]
    measured: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for a cell that would choose the questions it is measured on."""
        if both := set(self.choosers) & set(self.measured):
            raise ValueError(f"{', '.join(sorted(both))} would choose questions and be measured")


def fit_parts(
    errors: pd.DataFrame,
    samples: pd.DataFrame,
    series: Series,
    text_tokens: Sequence[int],
    *,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Fit the law of each series and family on each part of the questions.

    errors: of tabulate_errors. samples: of tabulate_samples. A part's error is the plain mean over
    benchmarks of 1 minus the mean score of its questions, as in the suite's law.

    Columns series, family, part, share (of the family's questions), questions, benchmarks, chosen_by,
    mean_error, points, scheme, floor_bound, bounds; alpha, beta, ratio, floor and, for each Q > 0 of
    text_tokens, tokens_at_{Q} (V*), each with _low and _high of its 95 % interval by `scheme`; note, which
    says why a law is missing.
    """
    cells = select_family_means(errors).drop_duplicates("cell")

    def fit(points: pd.DataFrame, key: Key) -> pd.DataFrame:
        folds, chosen_by = plan_folds(points, cells)
        blind = list_blind_cells(cells, points["budget"].iloc[0])
        small = list_small_cells(cells, points)
        scores = measure_parts(samples[samples["family"] == key[1]], folds, blind, small)
        rows = []
        for part in PARTS:
            by_one, by_small = part in BY_ONE, part in BY_SMALL
            if by_small and not small:
                continue
            whose = "smaller images" if by_small else chosen_by
            about = {"part": part, "chosen_by": whose if by_one or by_small else ""}
            mine = scores[scores["part"] == part]
            if mine.empty:
                rows.append({**about, "note": _NO_ONE if by_one else _NO_BLIND})
                continue
            law = _fit_part(points, mine, text_tokens, draws=draws, seed=seed)
            if (by_one or by_small) and not blind:
                law["note"] = "; ".join(filter(None, [law["note"], _NO_BLIND]))
            rows.append({**about, **law})
        return pd.DataFrame(rows)

    table = tabulate_each(select_family_means(errors), series, fit)
    names = [*_QUANTITIES, *(f"tokens_at_{q}" for q in filter(None, text_tokens))]
    numbers = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    about = ["series", "family", "part", "share", "questions", "benchmarks", "chosen_by"]
    about += ["mean_error", "points", "scheme", "floor_bound", "bounds"]
    table = table.reindex(columns=[*about, *numbers, "note"])
    texts = ["chosen_by", "scheme", "floor_bound", "bounds", "note"]
    table[texts] = table[texts].fillna("").astype(str)
    return table.astype(dict.fromkeys(numbers, float))


def plan_folds(points: pd.DataFrame, cells: pd.DataFrame) -> tuple[list[Fold], str]:
    """Return the folds of cells, and the name of what sets choosing cells apart from measured ones.

    points: the cells of a law. cells: all cells. Where no cell can choose, the name is "", and the one fold
    measures all of `points`.
    """
    one = points[points["visual_tokens"] == 1]
    seeds = one["seed"].unique()
    # The same LLMs choose for every seed: otherwise seeds would have questions of different difficulty.
    shared = one[one.groupby(["llm", "method"])["seed"].transform("nunique") == len(seeds)]
    if len(seeds) > 1 and len(shared):
        folds = [
            Fold(
                tuple(shared.loc[shared["seed"] != seed, "cell"]),
                tuple(points.loc[points["seed"] == seed, "cell"]),
            )
            for seed in seeds
        ]
        return folds, "other seeds"
    measured = tuple(points["cell"])
    outside = cells[(cells["visual_tokens"] == 1) & (cells["method"] != BLIND)]
    outside = outside[~outside["run"].isin(points["run"]) & ~outside["cell"].isin(measured)]
    same = outside["budget"] == points["budget"].iloc[0]
    for mine, chosen_by in ((same, "cells outside the law"), (~same, "other budgets")):
        if mine.any():
            return [Fold(tuple(outside.loc[mine, "cell"]), measured)], chosen_by
    return [Fold((), measured)], ""


def list_blind_cells(cells: pd.DataFrame, budget: str) -> list[str]:
    """Return the cells without an image of a budget, or of all budgets where that has none."""
    blind = cells[cells["method"] == BLIND]
    mine = blind[blind["budget"] == budget]
    return (mine if len(mine) else blind)["cell"].tolist()


def list_small_cells(cells: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    """Return the cells of the smallest images that share no training with a law's cells, `points`.

    Those of the law's budget, or of all budgets where that has none.
    """
    small = cells[(cells["method"] == _SMALL) & ~cells["run"].isin(points["run"])]
    mine = small[small["budget"] == points["budget"].iloc[0]]
    small = mine if len(mine) else small
    return small.loc[small["visual_tokens"] == small["visual_tokens"].min(), "cell"].tolist()


def measure_parts(
    samples: pd.DataFrame, folds: Sequence[Fold], blind: Sequence[str], small: Sequence[str] = ()
) -> pd.DataFrame:
    """Measure every cell of every fold on every part that can be chosen.

    samples: of one family. blind: cells without an image. small: with small images. Columns cell, fold,
    benchmark, part, questions, asked (questions of the benchmark), error (NaN without a question).
    """
    frames = []
    for benchmark, answers in samples.groupby("benchmark", sort=False):
        for number, fold in enumerate(folds):
            groups = [blind, small, fold.choosers, fold.measured]
            names = [name for group in groups for name in group]
            answered = pivot_answers(
                answers[answers["cell"].isin(names)], str(benchmark), [*dict.fromkeys(names)]
            )
            by_name = dict(zip(dict.fromkeys(names), answered, strict=True))
            by_blind, by_small, by_one, measured = (
                np.array([by_name[name] for name in group]) for group in groups
            )
            parts = split_questions(by_blind, by_small, by_one, answered.shape[1])
            for part, chosen in parts.items():
                count = int(chosen.sum())
                error = 1 - measured[:, chosen].mean(1) if count else np.nan
                about = {"fold": number, "benchmark": benchmark, "part": part, "questions": count}
                about["asked"] = answered.shape[1]
                frames.append(pd.DataFrame({"cell": fold.measured, **about, "error": error}))
    return pd.concat(frames, ignore_index=True)


def split_questions(
    by_blind: Floats, by_small: Floats, by_one: Floats, questions: int
) -> dict[str, NDArray[np.bool_]]:
    """Return the parts of a benchmark that can be chosen, each a mask of its questions.

    by_blind, by_small, by_one: scores (cells, questions) without an image, from small images and at one
    visual token; no cell, no part.
    """
    parts = {"all": np.ones(questions, bool)}
    image = parts["all"]
    if len(by_blind):
        image = ~is_answered(by_blind)
        parts |= {"blind": ~image, "image": image}
    for names, scores in ((BY_SMALL, by_small), (BY_ONE, by_one)):
        if len(scores):
            answered = is_answered(scores)
            parts |= dict(zip(names, (image & answered, image & ~answered), strict=True))
    return parts


def is_answered(right: Floats) -> NDArray[np.bool_]:
    """Return whether cells answer each question: (cells, questions) -> (questions,)."""
    return np.asarray(right.mean(0) >= 0.5)


def _fit_part(
    points: pd.DataFrame, scores: pd.DataFrame, text_tokens: Sequence[int], *, draws: int, seed: int
) -> dict[str, Any]:
    """Fit the law of one part, or say in `note` why there is none. scores: its rows of measure_parts."""
    counts = scores.groupby(["fold", "benchmark"])[["questions", "asked"]].first()
    fewest = counts["questions"].groupby("benchmark").min()
    kept = fewest.index[fewest >= LEAST_QUESTIONS]
    questions = counts.loc[counts.index.isin(kept, level="benchmark"), "questions"]
    row: dict[str, Any] = {
        "share": float(counts["questions"].sum() / counts["asked"].sum()),
        "questions": round(questions.sum() / scores["fold"].nunique()),
        "benchmarks": len(kept),
    }
    if kept.empty:
        return {**row, "note": f"no benchmark has {LEAST_QUESTIONS} questions of this part"}
    small = fewest.index.difference(kept)
    left_out = f"without {', '.join(small)}: fewer than {LEAST_QUESTIONS} questions"
    note = left_out if len(small) else ""
    errors = scores[scores["benchmark"].isin(kept)].groupby("cell")["error"].mean()
    mine = points[points["cell"].isin(errors.index)]
    mine = mine.assign(error=mine["cell"].map(errors))
    row |= {"mean_error": float(mine["error"].mean()), "points": len(mine)}
    try:
        law = _describe(mine, text_tokens, draws=draws, seed=seed)
        return {**row, **law, "note": "; ".join(filter(None, [law["note"], note]))}
    except UserError as error:
        return {**row, "note": "; ".join(filter(None, [str(error), note]))}


def _describe(
    points: pd.DataFrame, text_tokens: Sequence[int], *, draws: int, seed: int
) -> dict[str, Any]:
    """Return a law with the intervals of its main scheme. Raises UserError where there is no law."""
    if np.ptp(points["error"]) == 0:
        level = points["error"].iloc[0]
        raise UserError(f"every cell has the error {level:g}: it depends on neither N nor V")
    law, scheme = fit_power_law(points), choose_scheme(points)
    most = int(points["visual_tokens"].max())
    drawn = draw_laws(points, law, scheme, draws=draws, seed=seed)
    spread = summarize_draws(drawn, text_tokens, most).set_index("quantity")
    values: dict[str, Any] = {name: getattr(law, name) for name in _QUANTITIES}
    for q in filter(None, text_tokens):
        values[f"tokens_at_{q}"] = optimal_tokens(law.ratio, q, low=1, high=most).item()
    row: dict[str, Any] = {"scheme": scheme, "floor_bound": law.floor_bound, "bounds": law.bounds}
    row["note"] = describe_outside(values, spread.reset_index())
    for name, value in values.items():
        low, high = spread.loc[name, ["low", "high"]]
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row
