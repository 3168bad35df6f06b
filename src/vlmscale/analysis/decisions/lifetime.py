"""The LLM that costs least over its life: its training, and then k answers at a given error.

By a law of N, V and training budget S, each LLM reaches an error in many ways: with more visual tokens, or
after more training. A way that answers for less was more expensive to train, so the best one changes with
the number of answers, from the LLM that is trained for least to the one that answers for least.

Costs are nominal: 6 N a token in training, 2 N a token of an answer. The tower, which may be stored, and
the projector are not counted, nor is stage 1, which all budgets share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from vlmscale.analysis.decisions.recommend import FAR
from vlmscale.analysis.laws.budget_law import SAMPLES, BudgetLaw, fit_budget_law
from vlmscale.analysis.laws.budget_posterior import explain_no_draws, sample_budget_laws
from vlmscale.analysis.laws.points import Floats

_ROUNDING = 1e-9  # a target that an LLM reaches with the largest budget takes no more than that
_COLUMNS = ["answers_from", "answers_to", "llm", "n_params_b", "visual_tokens", "samples"]
_COLUMNS += ["extrapolates", "training_gflops", "answer_gflops", "share_best"]


@dataclass(frozen=True)
class Sampled:
    """What the trainings of stage 2 process."""

    by_budget: Mapping[str, float]  # samples of a training, by budget
    text_tokens: float  # of a sample
    image_share: float = 1.0  # of the samples that have an image

    def __post_init__(self) -> None:
        """Raise ValueError for what no training can be."""
        if min(self.by_budget.values()) <= 0 or self.text_tokens < 0:
            raise ValueError(f"not the samples of a training: {self}")
        if not 0 <= self.image_share <= 1:
            raise ValueError(f"image_share {self.image_share} is no share")


@dataclass(frozen=True)
class Lifetime:
    """A question: which LLM reaches an error at the least cost of its training and answers?"""

    target: float  # the error to reach
    text_tokens: float  # of an answer: Q + G
    sampled: Sampled  # the budgets of the law
    beyond: float = FAR  # how many times the largest of them a training may have

    def count_samples(
        self, law: BudgetLaw | pd.DataFrame, sizes_b: Floats, tokens: Floats
    ) -> Floats:
        """Return the samples after which each option reaches the target, (options,) or (draws, options).

        law: one, or draws of sample_budget_laws. At least the smallest budget of the law; infinite where it
        takes more than `beyond` times the largest, or no number of samples is enough.
        """
        names = ("amplitude", "alpha", "beta", "gamma", "floor")
        if isinstance(law, BudgetLaw):
            a, alpha, beta, gamma, d = (getattr(law, name) for name in names)
        else:
            a, alpha, beta, gamma, d = (law[name].to_numpy(float)[:, None] for name in names)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # ln of how many times the error above D, after one sample, is above that of the target
            excess = np.log(a * sizes_b**-alpha * tokens**-beta) - np.log(self.target - d)
            needed = np.exp(
                np.where(gamma > 0, excess / gamma, np.where(excess <= 0, -np.inf, np.inf))
            )
        low, high = min(self.sampled.by_budget.values()), max(self.sampled.by_budget.values())
        needed = np.where(np.isnan(needed), np.inf, np.maximum(needed, low))
        return np.where(needed > self.beyond * high * (1 + _ROUNDING), np.inf, needed)

    def train(self, sizes_b: Floats, tokens: Floats, samples: Floats) -> Floats:
        """Return the GFLOPs of trainings."""
        visual = self.sampled.image_share * tokens
        return 6 * sizes_b * samples * (self.sampled.text_tokens + visual)

    def answer(self, sizes_b: Floats, tokens: Floats) -> Floats:
        """Return the GFLOPs of an answer."""
        return 2 * sizes_b * (self.text_tokens + tokens)


def rank_lifetimes(
    law: BudgetLaw,
    draws: pd.DataFrame,
    sizes_b: Mapping[str, float],
    token_counts: Sequence[int],
    lifetime: Lifetime,
) -> pd.DataFrame:
    """Return which LLM costs least from how many answers on: one row for each choice, by growing k.

    draws: of sample_budget_laws. sizes_b: LLM -> N in billions. Columns answers_from, answers_to (infinite
    in the last row), llm, n_params_b, visual_tokens, samples, extrapolates (whether that is more than any
    budget of the law), training_gflops, answer_gflops, and share_best: the share of draws by which the same
    LLM costs least, at the middle of the row's range (of ln k; ten times its end where it has one). No row
    where no LLM reaches the error.
    """
    options = [(llm, n, v) for llm, n in sizes_b.items() for v in sorted(token_counts)]
    llms = np.array([llm for llm, _, _ in options])
    n, v = (np.array([option[i] for option in options], float) for i in (1, 2))
    samples = lifetime.count_samples(law, n, v)
    training, answer = lifetime.train(n, v, samples), lifetime.answer(n, v)
    of_draws = lifetime.train(n, v, lifetime.count_samples(draws, n, v))
    most = max(lifetime.sampled.by_budget.values()) * (1 + _ROUNDING)
    rows = []
    for start, end, best in find_envelope(training, answer):
        k = _find_middle(start, end)
        costs = of_draws + k * answer
        agree = np.isfinite(costs).any(1) & (llms[costs.argmin(1)] == llms[best])
        rows.append(
            {
                "answers_from": start,
                "answers_to": end,
                "llm": llms[best],
                "n_params_b": n[best],
                "visual_tokens": int(v[best]),
                "samples": samples[best],
                "extrapolates": bool(samples[best] > most),
                "training_gflops": training[best],
                "answer_gflops": answer[best],
                "share_best": float(agree.mean()),
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def find_envelope(training: Floats, answer: Floats) -> list[tuple[float, float, int]]:
    """Return (from, to, option) of the options that cost least, training + k answer, over k >= 0.

    training: infinite for what cannot be had.
    """
    possible = np.flatnonzero(np.isfinite(training))
    if not len(possible):
        return []
    best = int(possible[np.lexsort((answer[possible], training[possible]))[0]])
    start = 0.0
    found: list[tuple[float, float, int]] = []
    while True:
        cheaper = possible[answer[possible] < answer[best]]
        crossings = (training[cheaper] - training[best]) / (answer[best] - answer[cheaper])
        if not len(cheaper):
            return [*found, (start, np.inf, best)]
        end = float(crossings.min())
        found.append((start, end, best))
        ties = cheaper[crossings <= end]
        start, best = end, int(ties[answer[ties].argmin()])


def _find_middle(start: float, end: float) -> float:
    """Return a number of answers in the middle of a range, in ln k; none where it is endless."""
    if start == 0:
        return 0.0 if np.isinf(end) else end / 10
    return 10 * start if np.isinf(end) else float(np.sqrt(start * end))


def tabulate_lifetimes(
    points: pd.DataFrame,
    sampled: Sampled,
    text_tokens: Sequence[int],
    *,
    draws: int,
    seed: int,
    targets: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Rank lifetimes by the law of `points`, at every Q of text_tokens and every target.

    points: as in fit_budget_law, with column llm. targets: name -> error; by default, for each LLM but the
    largest, the law's error of its largest budget at the most visual tokens: what it can do at best as it
    was trained, and a larger one with less. Columns target (its name), target_error, text_tokens, beyond
    (1: no more training than in the largest budget; 10: up to ten times as much), and those of
    rank_lifetimes. No row where no laws can be drawn (explain_no_draws).
    """
    columns = ["target", "target_error", "text_tokens", "beyond", *_COLUMNS]
    if explain_no_draws(points):
        return pd.DataFrame(columns=columns)
    law = fit_budget_law(points)
    drawn = sample_budget_laws(points, draws=draws, seed=seed)
    sizes = points.groupby("llm")["n_params_b"].first().sort_values().astype(float)
    counts = sorted(map(int, points["visual_tokens"].unique()))
    if targets is None:
        most = np.array([counts[-1]]), points[SAMPLES].max()
        names = sizes.index[:-1]
        targets = {llm: law.predict(sizes[llm], *most).item() for llm in names}
    tables = []
    for (name, error), q, beyond in product(targets.items(), text_tokens, (1.0, FAR)):
        asked = Lifetime(error, q, sampled, beyond)
        ranked = rank_lifetimes(law, drawn, dict(sizes), counts, asked)
        ranked = ranked.assign(target=name, target_error=error, text_tokens=q, beyond=beyond)
        tables.append(ranked[columns])
    return pd.concat(tables, ignore_index=True)
