"""The table of laws with a training budget: forms, and V* by budget."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.budget_law import SAMPLES, compare_budget_forms, fit_budget_law
from vlmscale.analysis.laws.budget_posterior import explain_no_draws, sample_budget_laws
from vlmscale.analysis.laws.intervals import describe_outside, summarize_draws
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.power_law import divide_exponents, fit_power_law
from vlmscale.analysis.laws.schemes import choose_scheme, draw_laws
from vlmscale.errors import UserError

ALL = "all"  # in column budget: of all budgets together
ALONE = "one budget"  # in column form: the law of N and V, of the points of one budget
_QUANTITIES = ("alpha", "beta", "ratio", "floor")


def describe_budgets(
    points: pd.DataFrame, text_tokens: Sequence[int], *, draws: int, seed: int
) -> pd.DataFrame:
    """Fit one law of N, V and S to `points`, its rivals, and the law of N and V of each budget alone.

    points: as in fit_budget_law, with column budget. Columns budget, samples (S, of a single budget), form,
    points, parameters, fitted (in words), sse, aicc, bic, scheme, floor_bound, bounds; alpha, beta, gamma,
    ratio, floor and tokens_at_{Q} (V*) for each Q > 0 of text_tokens, each with _low and _high of the 95 %
    interval by `scheme`; note. Rows: every form over all budgets, best AICc first; moving exponents at each
    budget; each budget alone. Raises UserError where the points determine no law.
    """
    most = int(points["visual_tokens"].max())
    forms = compare_budget_forms(points).rename(columns={"a": "_a", "b": "_b"})
    plain = forms.drop(columns=["alpha", "beta", "_a", "_b"])
    rows: list[dict[Any, Any]] = list(plain.to_dict("records"))
    for row in rows:
        row |= {"budget": ALL, "points": len(points)}
        if row["form"] == "product":
            row |= _describe_product(points, text_tokens, most, draws=draws, seed=seed)
    budgets = points.groupby("budget", sort=False)[SAMPLES].first().sort_values()
    moving = forms[forms["form"] == "moving exponents"]
    for budget, samples in budgets.items():
        about = {"budget": budget, "samples": samples}
        rows += [
            about | _move(law, points, samples, text_tokens, most)
            for law in moving.to_dict("records")
        ]
    for budget, samples in budgets.items():
        about = {"budget": budget, "samples": samples, "form": ALONE}
        mine = points[points["budget"] == budget]
        rows.append(about | _describe_alone(mine, text_tokens, most, draws=draws, seed=seed))
    names = ["alpha", "beta", "gamma", "ratio", "floor"]
    names += [f"tokens_at_{q}" for q in filter(None, text_tokens)]
    numbers = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    texts = ["fitted", "scheme", "floor_bound", "bounds", "note"]
    counted = ["points", "parameters", "sse", "aicc", "bic"]
    columns = ["budget", "samples", "form", *counted, *texts[:-1], *numbers, "note"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    table[texts] = table[texts].fillna("").astype(str)
    return table.astype(dict.fromkeys(["samples", *counted, *numbers], float))


def _describe_product(
    points: pd.DataFrame, text_tokens: Sequence[int], most: int, *, draws: int, seed: int
) -> dict[str, Any]:
    law = fit_budget_law(points)
    values = {name: getattr(law, name) for name in ("gamma", *_QUANTITIES)}
    row = {"floor_bound": law.floor_bound, "bounds": law.bounds}
    values |= _find_optima(law.ratio, text_tokens, most)
    if why := explain_no_draws(points):
        return row | values | {"note": why}
    drawn = sample_budget_laws(points, draws=draws, seed=seed)
    spread = summarize_draws(drawn, text_tokens, most)
    return row | {"scheme": "hierarchical"} | _add_ends(values, spread)


def _describe_alone(
    points: pd.DataFrame, text_tokens: Sequence[int], most: int, *, draws: int, seed: int
) -> dict[str, Any]:
    try:
        law = fit_power_law(points)
    except UserError as error:
        return {"points": len(points), "note": str(error)}
    scheme = choose_scheme(points)
    spread = summarize_draws(
        draw_laws(points, law, scheme, draws=draws, seed=seed), text_tokens, most
    )
    values = {name: getattr(law, name) for name in _QUANTITIES}
    values |= _find_optima(law.ratio, text_tokens, most)
    about = {"points": len(points), "sse": law.sse, "scheme": scheme}
    return (
        about | {"floor_bound": law.floor_bound, "bounds": law.bounds} | _add_ends(values, spread)
    )


def _move(
    law: Mapping[Any, Any],
    points: pd.DataFrame,
    samples: float,
    text_tokens: Sequence[int],
    most: int,
) -> dict[str, Any]:
    """Return the exponents of the form moving exponents at one budget."""
    s = float(np.log(samples) - np.log(points[SAMPLES]).mean())
    alpha, beta = law["alpha"] + law["_a"] * s, law["beta"] + law["_b"] * s
    ratio = float(divide_exponents([alpha], [beta])[0])
    values = {"alpha": alpha, "beta": beta, "ratio": ratio}
    return {"form": law["form"], **values, **_find_optima(ratio, text_tokens, most)}


def _find_optima(ratio: float, text_tokens: Sequence[int], most: int) -> dict[str, float]:
    """Return V* for each Q > 0."""
    return {
        f"tokens_at_{q}": optimal_tokens(ratio, q, low=1, high=most).item()
        for q in filter(None, text_tokens)
    }


def _add_ends(values: Mapping[str, float], spread: pd.DataFrame) -> dict[str, Any]:
    """Return values with the ends of their intervals, and a note. spread: of summarize_draws."""
    ends = spread.set_index("quantity")
    row: dict[str, Any] = {**values, "note": describe_outside(values, spread)}
    for end in ("low", "high"):
        row |= {f"{name}_{end}": float(ends[end].loc[name]) for name in values}
    return row
