"""Hypotheses on methods side by side: H5 to H7."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.engine import (
    INTERVAL,
    Claim,
    Finding,
    is_above_zero,
    is_below_zero,
    is_equivalent,
)
from vlmscale.analysis.checks.hypotheses.results import Results
from vlmscale.analysis.comparisons.paired import POOLED
from vlmscale.analysis.laws.answers import resample_means
from vlmscale.analysis.laws.tables import select_family_means
from vlmscale.errors import UserError

BASELINE = "tokenpacker"  # what H5 to H7 compare with
EQUIVALENT = 0.02  # of score, two points of a hundred: for less nobody pays for more tokens
REPEATED = 4  # the tokens of TokenPacker that "repeat" repeats

_Comparison = Mapping[Any, Any]  # a row of compare_methods
_DIFFERENCE = "difference of scores"


def check_methods(
    results: Results, draws: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Check H5 to H7 on each budget and family; draws, rng: for the questions that H6 resamples."""
    for budget in results.errors["budget"].unique():
        for family in results.errors["family"].unique():
            about = {"series": "", "budget": budget, "family": family}
            yield from _check_question_aware(results.paired, about)
            yield Claim(
                "H6",
                f"repeating {BASELINE}'s {REPEATED} tokens brings nothing",
                is_equivalent(EQUIVALENT, _DIFFERENCE),
                partial(_measure_repeats, results=results, draws=draws, rng=rng),
            ).check(about, **about)
            for method in ("avgpool", "random"):
                yield from _check_no_better(results.paired, method, about)


def _check_question_aware(
    paired: pd.DataFrame, about: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    claim = Claim(
        "H5",
        f"quecc answers better than {BASELINE} at 1 visual token",
        is_above_zero(_DIFFERENCE),
        _compare,
    )
    rows = [row for row in _comparisons(paired, "quecc", about) if row["visual_tokens"] == 1]
    yield from (claim.check(row, **about) for row in rows)
    if not rows:
        yield claim.skip(f"quecc and {BASELINE} were not compared at 1 visual token", **about)


def _check_no_better(
    paired: pd.DataFrame, method: str, about: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    text, rule = f"{method} answers no better than {BASELINE}", is_below_zero(_DIFFERENCE)
    rows = _comparisons(paired, method, about)
    for row in rows:
        claim = Claim("H7", f"{text} at V = {row['visual_tokens']}", rule, _compare)
        yield claim.check(row, **about)
    if not rows:
        why = f"{method} and {BASELINE} were compared at no number of visual tokens"
        yield Claim("H7", text, rule, _compare).skip(why, **about)


def _comparisons(paired: pd.DataFrame, method: str, about: Mapping[str, str]) -> list[_Comparison]:
    """Return the family means of `method` beside the baseline: LLMs pooled, or each where none are."""
    mine = select_family_means(paired)
    mine = mine[
        (mine["method"] == method)
        & (mine["baseline"] == BASELINE)
        & (mine["budget"] == about["budget"])
        & (mine["family"] == about["family"])
    ]
    pooled = mine["llm"] == POOLED
    has_pooled = pooled.groupby(mine["visual_tokens"]).transform("any")
    rows: list[_Comparison] = [
        *mine[pooled | ~has_pooled].sort_values("visual_tokens").to_dict("records")
    ]
    return rows


def _compare(row: _Comparison) -> Finding:
    llms = f"mean of {row['llms']} LLMs" if row["llm"] == POOLED else f"LLM {row['llm']}"
    seeds = " and seeds" if row["seeds"] > row["llms"] else ""
    note = f"{llms}, {row['questions']} questions; resampled are questions{seeds}"
    return Finding(row["difference"], row["low"], row["high"], note=note)


def _measure_repeats(
    about: Mapping[str, str], *, results: Results, draws: int, rng: np.random.Generator
) -> Finding:
    """Return the score of each cell of `repeat` less that of the cell of the baseline of its run."""
    cells = results.errors.drop_duplicates("cell")[["cell", "run", "method", "budget"]]
    cells = cells[cells["budget"] == about["budget"]]
    repeat, once = (cells[cells["method"] == name] for name in ("repeat", BASELINE))
    pairs = repeat.merge(once, on="run", suffixes=("", "_once"))
    if pairs.empty:
        why = f"no cell of repeat shares its run with {BASELINE} at {REPEATED} tokens"
        return Finding(note=why)
    mine = results.samples[results.samples["family"] == about["family"]]
    means, drawn = [], []
    for benchmark, answers in mine.groupby("benchmark"):
        table = answers.pivot(index="cell", columns="id", values="score")
        scores, baseline = (
            table.reindex(pairs[column]).to_numpy(float) for column in ("cell", "cell_once")
        )
        gains = (scores - baseline).mean(0)  # by question
        if np.isnan(gains).any():
            raise UserError(
                f"samples of {benchmark}: a cell of repeat or {BASELINE} lacks questions that others "
                "have; evaluate it again"
            )
        means.append(gains.mean())
        drawn.append(resample_means(gains[None], draws, rng)[:, 0])
    if not means:
        return Finding(note=f"the study has no questions of {about['family']}")
    low, high = np.quantile(np.mean(drawn, axis=0), INTERVAL)
    note = f"{len(pairs)} cells; resampled are questions"
    return Finding(float(np.mean(means)), low, high, note=note)
