"""Compare two methods at the same LLM, number of visual tokens and training budget.

Both answer the same questions and share training seeds, so every number is computed from differences per
question and seed: a question's difficulty cancels out.

| number    | means                                                                               |
|-----------|-------------------------------------------------------------------------------------|
| low, high | 95 % percentile interval over resampled seeds and, the same ones for both methods   |
|           | and all seeds, questions of each benchmark                                          |
| p         | two-sided permutation test that exchanges the methods' answers (of all seeds        |
|           | together) at random questions; at least 1 / (draws + 1)                             |
| p_holm    | p after Holm's correction over all comparisons of one family's mean                 |

p generalises to other questions, not to another training of the models; nor does the interval of a single
seed. With k seeds, resampling captures only (k - 1) / k of their variance, while answers that change
between seeds widen the interval: with two or three seeds it is rough.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vlmscale.analysis.collect import require_one_protocol
from vlmscale.analysis.laws.answers import pivot_answers, resample_means
from vlmscale.analysis.laws.points import Floats
from vlmscale.errors import UserError

POOLED = "all"  # in column llm: the average of the LLMs
_SAME = ["llm", "visual_tokens", "seed", "budget"]  # equal in both cells of a pair
_COMPARISON = ["method", "llm", "visual_tokens", "budget"]
_COLUMNS = [
    *("method", "baseline", "llm", "visual_tokens", "budget", "family", "benchmark"),
    *("llms", "seeds", "questions", "difference", "low", "high", "p", "p_holm"),
]
_CHUNK = 250  # draws per batch; bounds the memory
_TIE = 1e-12  # rounding error of summing in another order


def compare_methods(
    errors: pd.DataFrame, samples: pd.DataFrame, baseline: str, *, draws: int, seed: int
) -> pd.DataFrame:
    """Return the score of every other method minus that of `baseline`, by benchmark and family mean.

    errors: of tabulate_errors. samples: of tabulate_samples. Pairs cells with the same LLM, V, seed and
    training budget. Rows with llm "all" average several LLMs with equal weights; LLMs are not resampled.

    Columns method, baseline, llm, visual_tokens, budget, family, benchmark ("mean" for the family's), llms,
    seeds (number of cell pairs, over all LLMs if llm is "all"), questions, difference, low, high, p, p_holm
    (family means only; llm "all" is corrected separately). Raises UserError if a cell lacks a question that
    another has, or if scores come from two protocols.
    """
    require_one_protocol(errors)
    pairs = _pairs(errors, baseline)
    if pairs.empty:
        return pd.DataFrame(columns=_COLUMNS)
    rng = np.random.default_rng(seed)
    about, members = _comparisons(pairs)
    seeds = pairs.groupby(_COMPARISON)["seed"].transform("size").to_numpy(float)
    seed_weights = _seed_weights(pairs, draws, rng)
    by_family: dict[str, list[tuple[int, Floats, Floats, Floats]]] = {}
    frames = []
    for family, benchmark, differences in _differences(errors, samples, pairs):
        n = differences.shape[1]
        by_question = (members / seeds) @ differences
        drawn, exchanged = [], []
        for start in range(0, draws, _CHUNK):
            weights = seed_weights[start : start + _CHUNK]
            drawn.append(weights * resample_means(differences, len(weights), rng) @ members.T)
            signs = rng.choice([-1.0, 1.0], size=(len(weights), n))
            exchanged.append(signs @ by_question.T / n)
        effect = n, by_question.mean(1), np.concatenate(drawn), np.concatenate(exchanged)
        by_family.setdefault(family, []).append(effect)
        frames.append(_rows(about, *effect).assign(family=family, benchmark=benchmark))
    for family, effects in by_family.items():
        questions, *parts = zip(*effects, strict=True)
        averages = (
            np.mean(part, axis=0) for part in parts
        )  # equal weights, as in the errors table
        frames.append(
            _rows(about, sum(questions), *averages).assign(family=family, benchmark="mean")
        )
    table = pd.concat(frames).sort_index(kind="stable").reset_index(drop=True)
    means = table[table["benchmark"] == "mean"]
    side_by_side = means.groupby([means["family"], means["llm"] == POOLED])["p"]
    table["p_holm"] = side_by_side.transform(adjust_by_holm)
    return table.assign(baseline=baseline)[_COLUMNS]


def adjust_by_holm(p: ArrayLike) -> Floats:
    """Adjust p-values by Holm: bounds the family-wise error rate."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return adjusted.clip(max=1)


def _pairs(errors: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Pair each other cell with the baseline's: columns cell, method, those of _SAME, cell_baseline."""
    cells = errors.drop_duplicates("cell")[["cell", "method", *_SAME]]
    mine = cells["method"] == baseline
    if not mine.any():
        known = ", ".join(cells["method"].unique())
        raise UserError(f"baseline: no cell has method {baseline}; compare with one of {known}")
    base = cells[mine].drop(columns="method")
    return cells[~mine].merge(base, on=_SAME, suffixes=("", "_baseline"))


def _comparisons(pairs: pd.DataFrame) -> tuple[pd.DataFrame, Floats]:
    """Return the comparisons (c rows) and each pair's LLM weight in each comparison (c, pairs)."""
    rows, members = [], []
    for by in (_COMPARISON, [column for column in _COMPARISON if column != "llm"]):
        for key, mine in pairs.groupby(by, sort=False):
            llms = mine["llm"].nunique()
            if "llm" not in by and llms == 1:
                continue  # a single LLM: nothing to average
            named = dict(zip(by, key, strict=True))
            rows.append({"llm": POOLED, **named, "llms": llms, "seeds": len(mine)})
            members.append(pairs.index.isin(mine.index) / llms)
    return pd.DataFrame(rows), np.stack(members)


def _seed_weights(pairs: pd.DataFrame, draws: int, rng: np.random.Generator) -> Floats:
    """Return each pair's weight in its comparison under a bootstrap of seeds, (draws, pairs)."""
    weights = np.empty((draws, len(pairs)))
    for _, mine in pairs.groupby(_COMPARISON, sort=False):
        k = len(mine)
        weights[:, mine.index] = rng.multinomial(k, np.full(k, 1 / k), size=draws) / k
    return weights


def _differences(
    errors: pd.DataFrame, samples: pd.DataFrame, pairs: pd.DataFrame
) -> Iterator[tuple[str, str, Floats]]:
    """Yield, per benchmark, its family, its name and the score differences (pairs, questions)."""
    cells = pd.unique(pairs[["cell", "cell_baseline"]].to_numpy().ravel())
    measured = errors[errors["cell"].isin(cells) & (errors["benchmark"] != "mean")]
    samples = samples[samples["cell"].isin(cells)]
    for (family, benchmark), rows in measured.groupby(["family", "benchmark"], sort=False):
        answers = samples[samples["benchmark"] == benchmark]
        scores, baseline = (
            pivot_answers(
                answers, str(benchmark), pairs[column].to_list(), questions=rows["n"].max()
            )
            for column in ("cell", "cell_baseline")
        )
        yield str(family), str(benchmark), scores - baseline


def _rows(
    about: pd.DataFrame, questions: int, difference: Floats, drawn: Floats, exchanged: Floats
) -> pd.DataFrame:
    """Summarise c comparisons: difference (c,), drawn by the bootstrap and exchanged (draws, c)."""
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    extreme = (np.abs(exchanged) >= np.abs(difference) - _TIE).sum(0)
    # Count the observed data as one exchange, so that the test is valid for any number of draws.
    p = (1 + extreme) / (1 + len(exchanged))
    return about.assign(questions=questions, difference=difference, low=low, high=high, p=p)
