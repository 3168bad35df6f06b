"""Compare two methods at the same LLM, number of visual tokens and training budget.

Both answer the same questions and share training seeds, so everything is computed from differences,
question by question and seed by seed: what makes a question hard for both cancels out.

| number    | means                                                                               |
|-----------|-------------------------------------------------------------------------------------|
| low, high | 95 % percentile interval. Each draw resamples the seeds (where there are several),  |
|           | then the questions of each benchmark, the same ones for both methods and all seeds  |
| p         | two-sided, of the hypothesis that at each question the two methods' answers, those  |
|           | of all seeds together, could be exchanged. Compared with `draws` random exchanges,  |
|           | so at least 1 / (draws + 1); valid for any number of questions                      |
| p_holm    | p adjusted for all family means of one family that stand side by side               |

p holds for the trained models: it covers questions, not another training. So does the interval for a
single seed. With k seeds, resampling sees only (k - 1) / k of their variance, while answers that change
between seeds widen the interval: for two or three seeds it is rough.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vlmscale.analysis.collect import require_one_protocol
from vlmscale.analysis.laws.points import Floats
from vlmscale.errors import UserError

POOLED = "all"  # in column llm: the average of the LLMs
_SAME = ["llm", "visual_tokens", "seed", "budget"]  # what two compared cells share
_COMPARISON = ["method", "llm", "visual_tokens", "budget"]
_COLUMNS = [
    *("method", "baseline", "llm", "visual_tokens", "budget", "family", "benchmark"),
    *("llms", "seeds", "questions", "difference", "low", "high", "p", "p_holm"),
]
_CHUNK = 250  # draws at once, which bounds the memory
_TIE = 1e-12  # sums of the same differences in another order


@dataclass(frozen=True)
class _Effect:
    """The difference on a benchmark, or the mean of several, of each comparison (c)."""

    questions: int
    difference: Floats  # (c,)
    drawn: Floats  # bootstrap, (draws, c)
    flipped: Floats  # as if methods were exchanged at random, (draws, c)


def compare_methods(
    errors: pd.DataFrame, samples: pd.DataFrame, baseline: str, *, draws: int, seed: int
) -> pd.DataFrame:
    """Return the score of every other method minus that of `baseline`, by benchmark and family mean.

    errors: of tabulate_errors. samples: of tabulate_samples. Compared are cells of the same LLM, number of
    tokens, seed and budget that both methods have. Where a method meets the baseline with
    several LLMs, rows with llm "all" average them with equal weights: the LLMs are given, not resampled.

    Columns method, baseline, llm, visual_tokens, budget, family, benchmark ("mean" for the family's), llms,
    seeds (pairs of cells, those of all LLMs where pooled), questions, difference, low, high, p, p_holm
    (family means only, pooled ones apart). Raises UserError when a cell lacks a question that another has,
    or for scores of two protocols.
    """
    require_one_protocol(errors)
    pairs = _pairs(errors, baseline)
    if pairs.empty:
        return pd.DataFrame(columns=_COLUMNS)
    rng = np.random.default_rng(seed)
    about, members = _comparisons(pairs)
    seeds = pairs.groupby(_COMPARISON)["seed"].transform("size").to_numpy(float)
    seed_weights = _seed_weights(pairs, draws, rng)
    by_family: dict[str, list[_Effect]] = {}
    frames = []
    for family, benchmark, differences in _differences(errors, samples, pairs):
        n = differences.shape[1]
        by_question = (members / seeds) @ differences
        drawn, flipped = [], []
        for start in range(0, draws, _CHUNK):
            weights = seed_weights[start : start + _CHUNK]
            counts = rng.multinomial(n, np.full(n, 1 / n), size=len(weights))
            drawn.append(weights * (counts @ differences.T / n) @ members.T)
            signs = rng.choice([-1.0, 1.0], size=(len(weights), n))
            flipped.append(signs @ by_question.T / n)
        effect = _Effect(n, by_question.mean(1), np.concatenate(drawn), np.concatenate(flipped))
        by_family.setdefault(family, []).append(effect)
        frames.append(_rows(about, effect).assign(family=family, benchmark=benchmark))
    for family, effects in by_family.items():
        frames.append(_rows(about, _mean(effects)).assign(family=family, benchmark="mean"))
    table = pd.concat(frames).sort_index(kind="stable").reset_index(drop=True)
    means = table[table["benchmark"] == "mean"]
    side_by_side = means.groupby([means["family"], means["llm"] == POOLED])["p"]
    table["p_holm"] = side_by_side.transform(adjust_by_holm)
    return table.assign(baseline=baseline)[_COLUMNS]


def adjust_by_holm(p: ArrayLike) -> Floats:
    """Adjust p-values by Holm: at most a share x of studies has a false one below x."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return adjusted.clip(max=1)


def _pairs(errors: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Pair cells of other methods with the baseline's: columns cell, method, _SAME, cell_baseline."""
    cells = errors.drop_duplicates("cell")[["cell", "method", *_SAME]]
    mine = cells["method"] == baseline
    if not mine.any():
        known = ", ".join(cells["method"].unique())
        raise UserError(f"baseline: no cell has method {baseline}; compare with one of {known}")
    base = cells[mine].drop(columns="method")
    return cells[~mine].merge(base, on=_SAME, suffixes=("", "_baseline"))


def _comparisons(pairs: pd.DataFrame) -> tuple[pd.DataFrame, Floats]:
    """Return the comparisons (c rows) and the weight of each pair's LLM in them (c, pairs)."""
    rows, members = [], []
    for by in (_COMPARISON, [column for column in _COMPARISON if column != "llm"]):
        for key, mine in pairs.groupby(by, sort=False):
            llms = mine["llm"].nunique()
            if "llm" not in by and llms == 1:
                continue  # nothing to pool
            named = dict(zip(by, key, strict=True))
            rows.append({"llm": POOLED, **named, "llms": llms, "seeds": len(mine)})
            members.append(pairs.index.isin(mine.index) / llms)
    return pd.DataFrame(rows), np.stack(members)


def _seed_weights(pairs: pd.DataFrame, draws: int, rng: np.random.Generator) -> Floats:
    """Return the share of each pair in its comparison when seeds are drawn, (draws, pairs)."""
    weights = np.empty((draws, len(pairs)))
    for _, mine in pairs.groupby(_COMPARISON, sort=False):
        k = len(mine)
        weights[:, mine.index] = rng.multinomial(k, np.full(k, 1 / k), size=draws) / k
    return weights


def _differences(
    errors: pd.DataFrame, samples: pd.DataFrame, pairs: pd.DataFrame
) -> Iterator[tuple[str, str, Floats]]:
    """Yield family, benchmark and score minus the baseline's, (pairs, questions)."""
    cells = pd.unique(pairs[["cell", "cell_baseline"]].to_numpy().ravel())
    measured = errors[errors["cell"].isin(cells) & (errors["benchmark"] != "mean")]
    samples = samples[samples["cell"].isin(cells)]
    for (family, benchmark), rows in measured.groupby(["family", "benchmark"], sort=False):
        answers = samples[samples["benchmark"] == benchmark]
        table = answers.pivot(index="cell", columns="id", values="score").reindex(cells)
        lacking = table.notna().sum(axis=1) < max(rows["n"].max(), table.shape[1])
        if lacking.any():
            cell = table.index[lacking][0]
            raise UserError(
                f"samples of {benchmark}: cell {cell} lacks questions that others have; evaluate it again"
            )
        scores, baseline = (table.loc[pairs[c]].to_numpy(float) for c in ("cell", "cell_baseline"))
        yield str(family), str(benchmark), scores - baseline


def _mean(effects: list[_Effect]) -> _Effect:
    """Average benchmarks with equal weights, as in the errors table."""
    questions = sum(effect.questions for effect in effects)
    parts = zip(
        *((effect.difference, effect.drawn, effect.flipped) for effect in effects), strict=True
    )
    return _Effect(questions, *(np.mean(part, axis=0) for part in parts))


def _rows(about: pd.DataFrame, effect: _Effect) -> pd.DataFrame:
    low, high = np.quantile(effect.drawn, [0.025, 0.975], axis=0)
    extreme = (np.abs(effect.flipped) >= np.abs(effect.difference) - _TIE).sum(0)
    # The data are one of the exchanges, which keeps the test valid for any number of draws.
    p = (1 + extreme) / (1 + len(effect.flipped))
    return about.assign(
        questions=effect.questions, difference=effect.difference, low=low, high=high, p=p
    )
