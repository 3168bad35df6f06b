"""The tables of laws with a training budget as text: forms, V* by budget, cheapest LLMs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.budget_tables import ALL
from vlmscale.report.format import fixed, format_floor, format_interval

_SYMBOLS = (("alpha", "α", 4), ("beta", "β", 4), ("gamma", "γ", 4), ("ratio", "α/β", 2))


def format_budget_law(table: pd.DataFrame) -> pd.DataFrame:
    """Format every form with its parameters, or its exponents and their 95 % intervals.

    table: of describe_budgets, with columns series and family.
    """
    optima = [c for c in map(str, table) if c.startswith("tokens_at_") and c.count("_") == 2]
    best = table[table["budget"] == ALL].groupby(["series", "family"])["aicc"].min()
    rows = []
    for law in table.to_dict("records"):
        row = {"law": law["series"], "family": law["family"], "form": law["form"]}
        row |= {"budget": law["budget"], "S": format_count(law["samples"])}
        named = [*_SYMBOLS, *((c, f"V*({c.removeprefix('tokens_at_')})", 1) for c in optima)]
        for name, symbol, digits in named:
            ends = (law[f"{name}{end}"] for end in ("", "_low", "_high"))
            row[symbol] = format_interval(*ends, digits=digits)
        row["D"] = format_floor(law["floor"], law["floor_bound"])
        least = best[law["series"], law["family"]]
        behind = 0.0 if law["aicc"] == least else law["aicc"] - least  # also of infinite ones
        rows.append(
            {**row, "ΔAICc": fixed(1)(behind), "fitted": law["fitted"], "note": law["note"]}
        )
    return pd.DataFrame(rows)


def format_lifetime(table: pd.DataFrame) -> pd.DataFrame:
    """Format which LLM costs least from how many answers on; V, S and costs go from few answers to many.

    table: of tabulate_lifetimes, with columns series and family.
    """
    asked = ["series", "family", "target", "text_tokens", "beyond"]
    same = table["llm"].eq(table.groupby(asked, sort=False)["llm"].shift())
    rows = []
    for _, part in table.groupby((~same).cumsum()):
        first, last = part.to_dict("records")[0], part.to_dict("records")[-1]
        rows.append(
            {
                "law": first["series"],
                "family": first["family"],
                "error": f"{first['target_error']:.3f}, of {first['target']}",
                "Q": str(first["text_tokens"]),
                "training": "as in the study" if first["beyond"] == 1 else "up to 10 times",
                "answers": format_range(first["answers_from"], last["answers_to"]),
                "LLM": first["llm"],
                "V": _span(*(str(row["visual_tokens"]) for row in (first, last))),
                "S": _span(*(_mark_samples(row) for row in (first, last))),
                "training, GFLOPs": _span(
                    *(format_count(r["training_gflops"]) for r in (first, last))
                ),
                "answer, GFLOPs": _span(*(format_count(r["answer_gflops"]) for r in (first, last))),
                "agreement, %": fixed(0)(100 * part["share_best"].min()),
            }
        )
    heads = ["law", "family", "error", "Q", "training", "answers", "LLM", "V", "S"]
    heads += ["training, GFLOPs", "answer, GFLOPs", "agreement, %"]
    return pd.DataFrame(rows, columns=heads)


def _mark_samples(row: Mapping[Any, Any]) -> str:
    """Write S, with an asterisk where no budget of the law has as many samples."""
    return format_count(row["samples"]) + "*" * bool(row["extrapolates"])


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def format_count(value: float) -> str:
    """Write a large or small number with three digits; nothing for NaN."""
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}"


def format_range(start: float, end: float) -> str:
    """Write a range of numbers of answers."""
    if np.isinf(end):
        return f"{format_count(start)} and more" if start else "any number"
    return (
        f"{format_count(start)} to {format_count(end)}" if start else f"up to {format_count(end)}"
    )


FORMATS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "budget_law": format_budget_law,
    "lifetime": format_lifetime,
}
