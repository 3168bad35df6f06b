"""Result tables as text: rounded, with intervals and units, for Markdown and LaTeX."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from vlmscale.analysis.comparisons.table1 import measure_gaps, pivot_scores
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.schemes import find_main_scheme
from vlmscale.report.format import fixed, format_floor, format_interval, format_ratio

# The columns of each table.
_TABLES = {
    "forms": """series family form parameters sse aicc bic rmse_left_out_point rmse_left_out_size
    rmse_left_out_count mean_percent_largest_size max_percent_largest_size""",
    "variants": "series family variant amplitude alpha beta ratio floor sse points bounds",
    "suites": "series family without alpha beta ratio floor points note",
    "paired": "method baseline llm visual_tokens budget family difference p_holm questions seeds",
    "verdicts": "id hypothesis series budget family interval p p_holm rule verdict note",
    "sanity": "check budget subject value reference holds note",
}
# The title of a column and how its values are written, where these are not its name and str.
_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "series": ("law", str),
    "amplitude": ("A", fixed(4)),
    "alpha": ("α", fixed(4)),
    "beta": ("β", fixed(4)),
    "ratio": ("α/β", format_ratio),
    "floor": ("D", str),
    "sse": ("SSE", "{:.3e}".format),
    "aicc": ("ΔAICc", fixed(1)),
    "bic": ("BIC", fixed(1)),
    "rmse_left_out_point": ("RMSE, point left out", fixed(5)),
    "rmse_left_out_size": ("size left out", fixed(5)),
    "rmse_left_out_count": ("count left out", fixed(5)),
    "mean_percent_largest_size": ("largest size, mean %", fixed(2)),
    "max_percent_largest_size": ("max %", fixed(2)),
    "baseline": ("minus", str),
    "llm": ("LLM", str),
    "visual_tokens": ("visual tokens", str),
    "p": ("p", fixed(4)),
    "p_holm": ("p (Holm)", fixed(4)),
    "seeds": ("pairs of runs", str),
    "bounds": ("at a bound", str),
    "interval": ("value", str),
    "value": ("value", fixed(4)),
    "reference": ("reference", fixed(4)),
    "holds": ("holds", lambda holds: "yes" if holds else "NO"),
}


def format_table(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Format the result table `name`: forms, variants, suites, paired (family means), verdicts or sanity.

    ΔAICc is over the best form of the law; differences are in percent points with 95 % intervals.
    """
    columns = _TABLES[name].split()
    if name == "forms":
        best = table.groupby(["series", "family"])["aicc"].transform("min")
        table = table.assign(aicc=table["aicc"] - best)
    if "floor" in columns:
        table = table.assign(floor=[*map(format_floor, table["floor"], table["floor_bound"])])
    if name == "paired":
        table = table[table["benchmark"] == "mean"]
        spans = 100 * table[["difference", "low", "high"]].to_numpy(float)
        table = table.assign(difference=["{:+.1f} [{:+.1f}, {:+.1f}]".format(*s) for s in spans])
        if table["budget"].nunique() <= 1:
            columns.remove("budget")
    if name == "verdicts":
        spans = table[["value", "low", "high"]].to_numpy(float)
        table = table.assign(interval=[format_interval(*span, digits=3) for span in spans])
    text = {}
    for column in columns:
        title, write = _COLUMNS.get(column, (column, str))
        text[title] = table[column].map(write).astype(str)
    return pd.DataFrame(text)


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
        row["at a bound"] = law["bounds"]
        rows.append({**row, "intervals": spread["scheme"].iloc[0]})
    return pd.DataFrame(rows).fillna("")


def main_intervals(intervals: pd.DataFrame, law: Mapping[Any, Any]) -> pd.DataFrame:
    """Return a law's intervals by quantity, of its main scheme.

    law: its row of tabulate_laws.
    """
    mine = intervals[
        (intervals["series"] == law["series"]) & (intervals["family"] == law["family"])
    ]
    scheme = find_main_scheme(mine["scheme"])
    return mine[mine["scheme"] == scheme].set_index("quantity")


def add_intervals(laws: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """Add alpha_low, alpha_high ... of main_intervals to each law, and `resampled`, their scheme."""
    rows = []
    for law in laws.to_dict("records"):
        spread = main_intervals(intervals, law)
        for name in ("alpha", "beta", "ratio"):
            law[f"{name}_low"], law[f"{name}_high"] = spread.loc[name, ["low", "high"]]
        rows.append({**law, "resampled": spread["scheme"].iloc[0]})
    return pd.DataFrame(rows)


def format_methods(errors: pd.DataFrame, chance: pd.DataFrame) -> pd.DataFrame:
    """Format scores in percent as in the paper's Table 1: one row per LLM, method, V and budget.

    errors: of tabulate_errors, averaged over seeds. chance: of tabulate_chance, the first row: scores near
    it say little about LLM and tokens. A share of unreadable answers (counted as wrong) follows its score.
    """
    means = errors["benchmark"] == "mean"
    if "asked_tokens" in errors:  # of released VLMs, whose V differs between benchmarks
        errors = errors.assign(visual_tokens=errors["asked_tokens"])
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
    }
    if table["budget"].nunique() > 1:
        about["budget"] = table["budget"]
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
        rows += [
            {
                "method": row["method"],
                "visual tokens": str(row["visual_tokens"]),
                **{b: fixed(1)(row[b]) for b in benchmarks},
                "mean gap, %": fixed(1)(row["relative_percent"]),
                "over": str(row["benchmarks_compared"]),
            }
            for row in block.to_dict("records")
        ]
        gaps = {b: fixed(1)(closed[group, b]) for b in benchmarks if (group, b) in closed}
        if gaps:
            rows.append({"method": f"gap {method} closes, %", **gaps})
    return pd.DataFrame(rows).fillna("")
