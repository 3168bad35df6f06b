"""Choose an LLM and a number of visual tokens for an inference budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.points import Floats
from vlmscale.analysis.laws.power_law import PowerLaw, fit_power_law
from vlmscale.analysis.laws.schemes import choose_scheme, draw_laws
from vlmscale.errors import UserError

# (llm, visual tokens) -> cost in the unit of the budget; infinite where it is not known
Cost = Callable[[str, Floats], Floats]

FAR = 10.0
_DRAWS = 1000
_SEED = 0


@dataclass(frozen=True)
class LawWithDraws:
    """A law and what is not certain of it, as recommendations and the explorer use them."""

    law: PowerLaw
    draws: pd.DataFrame  # columns amplitude, alpha, beta, floor, ratio
    interval: str  # what the draws are, in words


def fit_with_draws(points: pd.DataFrame) -> LawWithDraws:
    """Fit the law of points and draw from it. Columns n_params_b, visual_tokens, error."""
    law, scheme = fit_power_law(points), choose_scheme(points)
    draws = draw_laws(points, law, scheme, draws=_DRAWS, seed=_SEED)
    sizes = points["n_params_b"].nunique()
    words = f"{_DRAWS} laws, scheme {scheme}, from {sizes} LLM sizes"
    return LawWithDraws(law, draws, words)


def rank_choices(
    law: PowerLaw,
    draws: pd.DataFrame,
    points: pd.DataFrame,
    sizes_b: Mapping[str, float],
    cost: Cost,
    budget: float,
    *,
    token_counts: Sequence[int],
    unit: str = "GFLOPs",
) -> pd.DataFrame:
    """Rank LLMs, each with the best token count within `budget`, lowest predicted error first.

    draws: refits of the law (bootstrap), for error_low, error_high (95 %) and `share_best`, the share of
    refits under which this choice beats the others. points: what the law was fitted on, for
    `extrapolates`, which says how a choice lies outside of it ("" where it does not). sizes_b: LLM -> N in
    billions, on the size axis of the law. Other columns: llm, n_params_b, visual_tokens, cost, error.
    Raises UserError, with the smallest possible budget, when it allows nothing.
    """
    counts = np.sort(np.asarray(token_counts, int))
    rows, least = [], []
    for llm, n in sizes_b.items():
        costs = cost(llm, counts)
        errors = np.where(costs <= budget, law.predict(n, counts), np.inf)
        least.append((float(costs.min()), llm))
        best = int(errors.argmin())
        if np.isfinite(errors[best]):
            rows.append((llm, float(n), int(counts[best]), float(costs[best]), float(errors[best])))
    if not rows:
        smallest, llm = min(least)
        if not np.isfinite(smallest):
            raise UserError(
                f"no cost is known for any LLM with {counts[0]} to {counts[-1]} visual tokens"
            )
        raise UserError(
            f"a budget of {budget:g} {unit} allows no answer at all. The smallest possible one is "
            f"{smallest:g} {unit}: {llm} with {counts[0]} visual token{'s' if counts[0] > 1 else ''}."
        )
    table = pd.DataFrame(rows, columns=["llm", "n_params_b", "visual_tokens", "cost", "error"])
    sizes, tokens = table["n_params_b"].to_numpy(), table["visual_tokens"].to_numpy(float)
    refits = predict_refits(draws, sizes, tokens)
    low, high = np.quantile(refits, [0.025, 0.975], axis=0)
    return table.assign(
        error_low=low,
        error_high=high,
        share_best=np.bincount(refits.argmin(1), minlength=len(table)) / len(refits),
        extrapolates=[_extrapolation(*at, points) for at in zip(sizes, tokens, strict=True)],
    ).sort_values(["error", "cost"], ignore_index=True)


def predict_refits(draws: pd.DataFrame, n_params_b: Floats, visual_tokens: Floats) -> Floats:
    """Predict errors (draws, points) by each refitted law at each (N, V)."""
    a, alpha, beta, d = (
        draws[name].to_numpy()[:, None] for name in ("amplitude", "alpha", "beta", "floor")
    )
    log_n, log_v = np.log(n_params_b), np.log(visual_tokens)
    return np.asarray(a * np.exp(-alpha * log_n - beta * log_v) + d)


def interpolate_cost(table: pd.DataFrame) -> Cost:
    """Return a cost that interpolates measured latencies of each LLM linearly, infinite beyond them.

    table: columns llm, visual_tokens, latency_ms. Raises UserError when a value is not a positive number,
    or an LLM has one row twice.
    """
    for column in ("visual_tokens", "latency_ms"):
        if not table[column].between(0, np.inf, inclusive="neither").all():
            raise UserError(f"latency table: column {column!r} must hold positive numbers")
    if table.duplicated(["llm", "visual_tokens"]).any():
        raise UserError(
            "latency table: an LLM has two rows for one visual_tokens; keep one, or choose with --methods"
        )
    measured = {
        str(llm): rows.sort_values("visual_tokens")[["visual_tokens", "latency_ms"]].to_numpy(float)
        for llm, rows in table.groupby("llm")
    }

    def cost(llm: str, visual_tokens: Floats) -> Floats:
        if llm not in measured:
            raise UserError(
                f"latency table: no row for {llm}. There are: {', '.join(sorted(measured))}."
            )
        tokens, latency = measured[llm].T
        return np.interp(visual_tokens, tokens, latency, left=np.inf, right=np.inf)

    return cost


def refuse_far_extrapolation(
    points: pd.DataFrame, sizes_b: Mapping[str, float], token_counts: Sequence[int]
) -> None:
    """Raise UserError for LLMs or token counts over FAR times beyond those that a law was fitted on."""
    for what, option, values, column in (
        ("LLM", "sizes", sizes_b, "n_params_b"),
        ("token count", "token-counts", {f"{v}": v for v in token_counts}, "visual_tokens"),
    ):
        low, high = points[column].min(), points[column].max()
        for name, value in values.items():
            factor = max(value / high, low / value)
            if factor > FAR:
                raise UserError(
                    f"{what} {name} is {factor:.3g} times beyond the law, which was fitted from {low:g} to "
                    f"{high:g}{' billion parameters' * (column == 'n_params_b')}. It says nothing there; "
                    f"choose nearer ones with --{option}, or fit a law to nearer scores with --scores."
                )


def _extrapolation(n_params_b: float, visual_tokens: float, points: pd.DataFrame) -> str:
    outside = []
    for value, column, what, unit in (
        (n_params_b, "n_params_b", "LLM", "B"),
        (visual_tokens, "visual_tokens", "token count", ""),
    ):
        low, high = points[column].min(), points[column].max()
        if not low <= value <= high:
            word, end = ("largest", high) if value > high else ("smallest", low)
            outside.append(f"{what} {value:g}{unit} is beyond the {word} one fitted, {end:g}{unit}")
    return "; ".join(outside)
