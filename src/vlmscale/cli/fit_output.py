"""Print fitted laws."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console

from vlmscale.cli.fit import SYMBOLS
from vlmscale.cli.output import Columns, Report, interval, number, print_table, span


def show(console: Console, report: Report) -> None:
    """Print each law with its errors, intervals, best token counts and rival forms."""
    for fit in report["fits"]:
        _show_fit(console, report["file"], fit)


def _show_fit(console: Console, file: str, fit: Report) -> None:
    sizes, counts, law = fit["sizes"], fit["token_counts"], fit["law"]
    console.print(f"{file}{', ' + fit['family'] if fit['family'] else ''}", style="bold")
    console.print(
        f"{fit['points']} points, {len(sizes)} sizes ({span(sizes[0], sizes[-1])} B), "
        f"{len(counts)} token counts ({span(counts[0], counts[-1])})"
    )
    console.print(f"{write_formula(law)}   (alpha / beta = {number(law['ratio'])})", style="bold")
    console.print(f"sum of squares {law['sse']:.4g}. {fit['size_axis']}; V: visual tokens.")
    for note in fit["notes"]:
        console.print(note)
    if (errors := fit["standard_errors"]) is not None:
        columns: Columns = {
            "quantity": _symbol,
            "estimate": "estimate",
            "standard error": lambda row: number(row["standard_error"], 2),
            "95 %": lambda row: interval(row["low"], row["high"]),
        }
        title = "Asymptotic errors (D held where it is on its bound)"
        print_table(console, title, errors, columns, words=["quantity"])
    if fit["intervals"]:
        _show_intervals(console, fit["intervals"])
    schemes = {row["interval_scheme"] for row in fit["optimal_tokens"]} - {None}
    title = "Best visual tokens V* at the cost 2 N (Q + V), N continuous"
    over = f" ({', '.join(schemes)})" if schemes else ""
    columns = {
        "Q": "text_tokens",
        "V*": lambda row: "any" if pd.isna(row["tokens"]) else number(row["tokens"]),
        f"95 %{over}": lambda row: interval(row["low"], row["high"]),
        "error within 1 %": lambda row: span(row["flat_low"], row["flat_high"], 3),
    }
    print_table(console, title, fit["optimal_tokens"], columns)
    if fit["forms"] is not None:
        _show_forms(console, fit["forms"])


def write_formula(law: Report) -> str:
    """Write the law in one line; law: amplitude, alpha, beta, floor."""
    return (
        f"error = {law['amplitude']:.4g} N^-{law['alpha']:.4g} V^-{law['beta']:.4g} "
        f"+ {law['floor']:.4g}"
    )


def _show_intervals(console: Console, found: Sequence[Report]) -> None:
    heads = ["scheme", "alpha", "beta", "D", "alpha / beta", "alpha > beta"]
    rows: dict[str, Report] = {}
    for row in found:
        mine = rows.setdefault(row["scheme"], {"scheme": row["scheme"]})
        mine[_symbol(row)] = interval(row["low"], row["high"], 3)
        if row["quantity"] == "share_ratio_above_1":
            mine["alpha > beta"] = f"{row['low']:.1%}"
    title = "95 % intervals: of the hierarchical model, and by what is resampled (too short)"
    print_table(console, title, rows.values(), {head: head for head in heads}, words=["scheme"])


def _symbol(row: Report) -> str:
    return SYMBOLS.get(row["quantity"], str(row["quantity"]))


def _show_forms(console: Console, forms: pd.DataFrame) -> None:
    columns: Columns = {
        "form": "form",
        "k": "parameters",
        "AICc": "aicc",
        "point": lambda row: number(row["rmse_left_out_point"], 3),
        "size": lambda row: number(row["rmse_left_out_size"], 3),
        "count": lambda row: number(row["rmse_left_out_count"], 3),
        "largest": lambda row: number(row["rmse_largest_size"], 3),
        "max %": lambda row: number(row["max_percent_largest_size"], 3),
    }
    title = "Rival forms: RMSE with each point, size or count left out, and of the largest size"
    print_table(console, title, forms, columns, words=["form"])
