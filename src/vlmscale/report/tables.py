"""Result tables as text: rounded, with intervals and units, for Markdown and LaTeX."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.comparisons.table1 import measure_gaps, pivot_scores
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.report.format import fixed, format_floor, format_interval, format_ratio


def format_laws(laws: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Format the parameters and V*(Q) of each law with the 95 % intervals of main_intervals."""
    rows = []
    for law in laws.to_dict("records"):
        spread = main_intervals(intervals, law)
        ends = dict(zip(spread.index, zip(spread["low"], spread["high"], strict=True), strict=True))
        row = {"law": law["series"], "family": law["family"], "N": law["size_axis"]}
        row["A"] = f"{law['amplitude']:.4f}"
        for name, symbol, digits in (("alpha", "α", 4), ("beta", "β", 4), ("ratio", "α/β", 2)):
            row[symbol] = format_interval(law[name], *ends[name], digits=digits)
        row["D"] = format_floor(law["floor"], law["floor_bound"])
        for quantity in spread.index[spread.index.str.startswith("tokens_at_")]:
            q = quantity.removeprefix("tokens_at_")
            most = law["most_visual_tokens"]
            best = optimal_tokens(law["ratio"], float(q), low=1, high=most).item()
            row[f"V*({q})"] = format_interval(best, *ends[quantity], digits=1)
        row |= {
            "SSE": f"{law['sse']:.3e}",
            "RMSE": f"{law['rmse']:.4f}",
            "points": str(law["points"]),
        }
        rows.append({**row, "intervals over": spread["scheme"].iloc[0]})
    return pd.DataFrame(rows).fillna("")


def main_intervals(intervals: pd.DataFrame, law: Mapping[Any, Any]) -> pd.DataFrame:
    """Return a law's intervals by quantity: over LLM sizes, or over points where there are two sizes.

    law: its row of tabulate_laws.
    """
    mine = intervals[
        (intervals["series"] == law["series"]) & (intervals["family"] == law["family"])
    ]
    scheme = "sizes" if (mine["scheme"] == "sizes").any() else "cases"  # as choose_scheme
    return mine[mine["scheme"] == scheme].set_index("quantity")


def format_forms(forms: pd.DataFrame) -> pd.DataFrame:
    """Format the rival forms of each law, in their order; errors of the largest size in percent."""
    best = forms.groupby(["series", "family"])["aicc"].transform("min")
    return pd.DataFrame(
        {
            "law": forms["series"],
            "family": forms["family"],
            "form": forms["form"],
            "parameters": forms["parameters"].astype(str),
            "SSE": forms["sse"].map("{:.3e}".format),
            "ΔAICc": (forms["aicc"] - best).map(fixed(1)),
            "BIC": forms["bic"].map(fixed(1)),
            "RMSE, point left out": forms["rmse_left_out_point"].map(fixed(5)),
            "size left out": forms["rmse_left_out_size"].map(fixed(5)),
            "count left out": forms["rmse_left_out_count"].map(fixed(5)),
            "largest size, mean %": forms["mean_percent_largest_size"].map(fixed(2)),
            "max %": forms["max_percent_largest_size"].map(fixed(2)),
        }
    )


def format_variants(variants: pd.DataFrame) -> pd.DataFrame:
    """Format the law fitted in other ways."""
    return pd.DataFrame(
        {
            "law": variants["series"],
            "family": variants["family"],
            "variant": variants["variant"],
            "A": variants["amplitude"].map(fixed(4)),
            "α": variants["alpha"].map(fixed(4)),
            "β": variants["beta"].map(fixed(4)),
            "α/β": variants["ratio"].map(format_ratio),
            "D": _floors(variants),
            "SSE": variants["sse"].map("{:.3e}".format),
            "points": variants["points"].astype(str),
        }
    )


def format_methods(errors: pd.DataFrame, chance: pd.DataFrame) -> pd.DataFrame:
    """Format scores in percent as in the paper's Table 1: one row per LLM, method, V and budget.

    errors: of tabulate_errors, averaged over seeds. chance: of tabulate_chance, the first row: scores near
    it say little about LLM and tokens. A share of unreadable answers (counted as wrong) follows its score.
    """
    means = errors["benchmark"] == "mean"
    named = errors.assign(column=errors["benchmark"].where(~means, errors["family"] + ", mean"))
    order = [
        *dict.fromkeys(named.loc[~means, "column"]),
        *dict.fromkeys(named.loc[means, "column"]),
    ]
    rows = ["n_params_b", "llm", "visual_tokens", "method", "budget"]
    scores, unread = (
        100 * named.groupby([*rows, "column"])[value].mean().unstack("column")[order]
        for value in ("score", "unparsed")
    )
    shown = scores.map(fixed(1)) + unread.map(_format_unread)
    ranks = ["n_params_b", "visual_tokens", "method", "budget"]
    table = shown.reset_index().sort_values(
        ranks, ascending=[True, False, True, True], ignore_index=True
    )
    about = {
        "LLM": table["llm"],
        "method": table["method"],
        "visual tokens": table["visual_tokens"].astype(str),
        **_budget_column(table),
    }
    body = pd.DataFrame({**about, **table[order]})
    levels = {column: fixed(1)(100 * level) for column, level in _chance_of(named, chance).items()}
    first = pd.DataFrame([{"method": "chance", **levels}])
    return pd.concat([first, body], ignore_index=True)[body.columns].fillna("")


def _chance_of(named: pd.DataFrame, chance: pd.DataFrame) -> dict[str, float]:
    """Return chance by column of format_methods: each benchmark's, and the mean of each family's."""
    single = named[named["benchmark"] != "mean"].drop_duplicates("benchmark")
    levels = single["benchmark"].map(chance.set_index("benchmark")["chance"]).astype(float)
    means = levels.groupby(single["family"]).mean()
    return {
        **dict(zip(single["column"], levels, strict=True)),
        **{f"{family}, mean": level for family, level in means.items()},
    }


def _format_unread(percent: float) -> str:
    return f" ({percent:.0f} % unread)" if percent >= 0.5 else ""  # also for NaN


def format_paired(paired: pd.DataFrame) -> pd.DataFrame:
    """Format differences of family means between methods, in percent points with 95 % intervals."""
    means = paired[paired["benchmark"] == "mean"]
    spans = [
        f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        for row in means.to_dict("records")
    ]
    return pd.DataFrame(
        {
            "method": means["method"],
            "minus": means["baseline"],
            "LLM": means["llm"],
            "visual tokens": means["visual_tokens"].astype(str),
            **_budget_column(means),
            "family": means["family"],
            "difference": spans,
            "p (Holm)": means["p_holm"].map(fixed(4)),
            "questions": means["questions"].astype(str),
            "pairs of runs": means["seeds"].astype(str),
        }
    )


def format_suites(suites: pd.DataFrame) -> pd.DataFrame:
    """Format the law refitted without each benchmark of its family."""
    return pd.DataFrame(
        {
            "law": suites["series"],
            "family": suites["family"],
            "without": suites["without"],
            "α": suites["alpha"].map(fixed(4)),
            "β": suites["beta"].map(fixed(4)),
            "α/β": suites["ratio"].map(fixed(2)),
            "D": _floors(suites),
            "points": suites["points"].astype(str),
            "note": suites["note"],
        }
    )


def format_verdicts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Format the verdict on each hypothesis with its value, interval, rule and note."""
    values = [
        fixed(3)(value) if np.isnan(low) else format_interval(value, low, high, digits=3)
        for value, low, high in verdicts[["value", "low", "high"]].itertuples(index=False)
    ]
    return pd.DataFrame(
        {
            "id": verdicts["id"],
            "hypothesis": verdicts["hypothesis"],
            "law": verdicts["series"],
            "budget": verdicts["budget"],
            "family": verdicts["family"],
            "value": values,
            "rule": verdicts["rule"],
            "verdict": verdicts["verdict"],
            "note": verdicts["note"],
        }
    )


def format_sanity(sanity: pd.DataFrame) -> pd.DataFrame:
    """Format the checks of whether the models have learned anything."""
    return pd.DataFrame(
        {
            "check": sanity["check"],
            "budget": sanity["budget"],
            "subject": sanity["subject"],
            "value": sanity["value"].map(fixed(4)),
            "reference": sanity["reference"].map(fixed(4)),
            "holds": sanity["holds"].map({True: "yes", False: "NO"}),
            "note": sanity["note"],
        }
    )


def format_table1(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Format the paper's Table 1; each block ends with the gap to LLaVA-1.5 that `method` closes."""
    scores = pivot_scores(table)
    benchmarks = list(scores.columns[3:-2])
    closed = {
        (row["group"], row["benchmark"]): row["gap_closed_percent"]
        for row in measure_gaps(table, method=method).to_dict("records")
    }
    rows = []
    for group, block in scores.groupby("group", sort=False):
        for row in block.to_dict("records"):
            rows.append(
                {
                    "method": row["method"],
                    "visual tokens": str(row["visual_tokens"]),
                    **{b: fixed(1)(row[b]) for b in benchmarks},
                    "mean gap, %": fixed(1)(row["relative_percent"]),
                    "over": str(row["benchmarks_compared"]),
                }
            )
        gaps = {b: fixed(1)(closed[group, b]) for b in benchmarks if (group, b) in closed}
        if gaps:
            rows.append({"method": f"gap {method} closes, %", **gaps})
    return pd.DataFrame(rows).fillna("")


def format_cached_text(saves: pd.DataFrame) -> pd.DataFrame:
    """Format what caching the text takes off a prefill; saves: of compare_cached_text."""
    return pd.DataFrame(
        {
            "LLM": saves["llm"],
            "V": saves["visual_tokens"].astype(str),
            "Q": saves["text_tokens"].astype(str),
            "images at once": saves["batch"].astype(str),
            "FLOPs saved": saves["flops_saved"].map("{:.1%}".format),
            "time saved": saves["time_saved"].map("{:.1%}".format),
            "time left over FLOPs left": saves["kept_ratio"].map(fixed(2)),
        }
    )


def format_fewer_tokens(falls: pd.DataFrame) -> pd.DataFrame:
    """Format what going from all visual tokens to one saves; falls: of compare_token_counts."""
    return pd.DataFrame(
        {
            "LLM": falls["llm"],
            "method": falls["method"],
            "2NV falls by": falls["flops_fall"].map(fixed(0)),
            "prefill falls by": falls["prefill_fall"].map(fixed(1)),
            "latency falls by": falls["latency_fall"].map(fixed(2)),
            "tower's share of it": falls["tower_share"].map("{:.0%}".format),
        }
    )


def _budget_column(table: pd.DataFrame) -> "dict[str, pd.Series[str]]":
    """Return the column of training budgets where there are several."""
    return {"budget": table["budget"]} if table["budget"].nunique() > 1 else {}


def _floors(laws: pd.DataFrame) -> list[str]:
    return [*map(format_floor, laws["floor"], laws["floor_bound"])]
