"""Hypotheses on methods side by side: H5 to H7.

What holds of a few LLMs and questions is to hold of others: a difference's variance is that over resampled
questions and that over LLMs (over runs, where there is one LLM), with as many units as there are of these.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.hypotheses.estimates import (
    Estimate,
    estimate_from_units,
    reverse,
    variance_of_mean,
)
from vlmscale.analysis.comparisons.paired import POOLED
from vlmscale.analysis.laws.answers import pivot_answers, resample_means
from vlmscale.analysis.laws.tables import select_family_means

BASELINE = "tokenpacker"  # what H5 to H7 compare with
EQUIVALENT = 0.02  # of score, two points of a hundred: for less nobody pays for more tokens
REPEATED = 4  # the tokens of TokenPacker that "repeat" repeats

_BETTER = "difference of scores: supported if surely above 0, contradicted if below"
_NO_BETTER = "difference of scores: supported if surely below 0, contradicted if above"
_NOTHING = (
    f"difference of scores: supported if surely within -{EQUIVALENT:g} and {EQUIVALENT:g}, contradicted if "
    "surely outside"
)


def check_methods(
    tables: Mapping[str, pd.DataFrame], draws: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Find what H5 to H7 say of each budget and family; draws, rng: for the questions H6 resamples."""
    paired = select_family_means(tables["paired"])
    for budget in tables["errors"]["budget"].unique():
        for family in tables["errors"]["family"].unique():
            about = {"series": "", "budget": budget, "family": family}
            beside = paired[(paired["budget"] == budget) & (paired["family"] == family)]
            text = f"quecc answers better than {BASELINE} at 1 visual token"
            at_one = _compare(beside[beside["visual_tokens"] == 1], "quecc")
            why = f"quecc and {BASELINE} were not compared at 1 visual token"
            missing = _explain_missing(beside, why)
            for _, found in at_one or [(1, missing)]:
                yield {"id": "H5", "hypothesis": text, "rule": _BETTER, **about, **vars(found)}
            text = f"repeating {BASELINE}'s {REPEATED} tokens brings nothing"
            found = _measure_repeats(tables, budget, family, draws, rng)
            yield {"id": "H6", "hypothesis": text, "rule": _NOTHING, **about, **vars(found)}
            for method in ("avgpool", "random"):
                text = f"{method} answers no better than {BASELINE}"
                why = f"{method} and {BASELINE} were compared at no number of visual tokens"
                for v, found in _compare(beside, method) or [(None, _explain_missing(beside, why))]:
                    at = f"{text} at V = {v}" if v else text
                    row = {"id": "H7", "hypothesis": at, "rule": _NO_BETTER, **about}
                    yield {**row, **vars(reverse(found))}


def _explain_missing(paired: pd.DataFrame, otherwise: str) -> Estimate:
    """Return no estimate; its note blames the study's baseline where that is another."""
    others = sorted(set(paired["baseline"]) - {BASELINE})
    if not others:
        return Estimate(note=otherwise)
    names = " and ".join(others)
    return Estimate(note=f"the study compares with {names}; set laws.baseline to {BASELINE}")


def _compare(paired: pd.DataFrame, method: str) -> list[tuple[int | None, Estimate]]:
    """Return, by V, the score of `method` less the baseline's: LLMs pooled, or each where none are."""
    mine = paired[(paired["method"] == method) & (paired["baseline"] == BASELINE)]
    found: list[tuple[int | None, Estimate]] = []
    for v in np.sort(mine["visual_tokens"].unique()):
        rows = mine[mine["visual_tokens"] == v]
        pooled = rows[rows["llm"] == POOLED]
        by_llm = rows.loc[rows["llm"] != POOLED, "difference"]
        for row in (rows if pooled.empty else pooled).to_dict("records"):
            variance = (
                (row["high"] - row["low"]) / 3.92
            ) ** 2  # half a 95 % interval is 1.96 errors
            if row["llm"] == POOLED:
                who, units = f"mean of {row['llms']} LLMs", len(by_llm)
                variance += variance_of_mean(by_llm)
            else:
                who, units = f"LLM {row['llm']}", int(row["seeds"])
                variance *= units / max(units - 1, 1)  # a bootstrap of k runs misses 1 / k
            note = f"{who}, {row['seeds']} pairs of runs, {row['questions']} questions"
            estimate = estimate_from_units(row["difference"], variance, units)
            if units < 2:
                note += "; one run a side does not tell how much runs differ"
            found.append((int(v), estimate.explain(note)))
    return found


def _measure_repeats(
    tables: Mapping[str, pd.DataFrame],
    budget: str,
    family: str,
    draws: int,
    rng: np.random.Generator,
) -> Estimate:
    """Return the score of each cell of `repeat` less that of the cell of the baseline of its run."""
    cells = tables["errors"].drop_duplicates("cell")[["cell", "run", "llm", "method", "budget"]]
    cells = cells[cells["budget"] == budget]
    repeat, once = (cells[cells["method"] == name] for name in ("repeat", BASELINE))
    pairs = repeat.merge(once, on="run", suffixes=("", "_once"))
    if pairs.empty:
        why = f"no cell of repeat shares its run with {BASELINE} at {REPEATED} tokens"
        return Estimate(note=why)
    samples = tables["samples"]
    gains, drawn = [], []
    for benchmark, answers in samples[samples["family"] == family].groupby("benchmark"):
        repeated, single = (
            pivot_answers(answers, str(benchmark), pairs[column].to_list())
            for column in ("cell", "cell_once")
        )
        gains.append((repeated - single).mean(1))
        drawn.append(resample_means((repeated - single).mean(0)[None], draws, rng)[:, 0])
    if not gains:
        return Estimate(note=f"the study has no questions of {family}")
    gain = np.mean(gains, axis=0)  # of each pair
    units = "llm" if pairs["llm"].nunique() > 1 else "run"
    by_unit = pairs.assign(gain=gain).groupby(units)["gain"].mean()
    variance = float(np.var(np.mean(drawn, axis=0))) + variance_of_mean(by_unit)
    found = estimate_from_units(float(gain.mean()), variance, len(by_unit), margin=EQUIVALENT)
    return found.explain(f"{len(pairs)} cells of {pairs['llm'].nunique()} LLMs")
