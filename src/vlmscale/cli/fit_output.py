"""Print fitted laws."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from vlmscale.cli.fit import SYMBOLS
from vlmscale.cli.output import Report, number, span, table


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
        rows = [
            [
                SYMBOLS.get(str(row["quantity"]), str(row["quantity"])),
                number(row["estimate"]),
                number(row["standard_error"], 2),
                span(row["low"], row["high"]),
            ]
            for row in errors.to_dict("records")
        ]
        title = "Asymptotic errors (D held where it is on its bound)"
        columns = ["quantity", "estimate", "standard error", "95 %"]
        console.print(table(title, columns, rows, words=["quantity"]))
    if fit["intervals"]:
        console.print(_interval_table(fit["intervals"]))
    schemes = {row["interval_scheme"] for row in fit["optimal_tokens"]} - {None}
    title = "Best visual tokens V* at the cost 2 N (Q + V), N continuous"
    columns = ["Q", "V*", f"95 % ({', '.join(schemes)})" if schemes else "95 %", "error within 1 %"]
    rows = [
        [
            str(row["text_tokens"]),
            number(row["tokens"]),
            span(row["low"], row["high"]),
            span(row["flat_low"], row["flat_high"], 3),
        ]
        for row in fit["optimal_tokens"]
    ]
    console.print(table(title, columns, rows))
    console.print(_form_table(fit["forms"]))


def write_formula(law: Report) -> str:
    """Write the law in one line; law: amplitude, alpha, beta, floor."""
    return (
        f"error = {law['amplitude']:.4g} N^-{law['alpha']:.4g} V^-{law['beta']:.4g} "
        f"+ {law['floor']:.4g}"
    )


def _interval_table(found: Sequence[Report]) -> Table:
    names = {"alpha": "alpha", "beta": "beta", "floor": "D", "ratio": "alpha / beta"}
    by_scheme: dict[str, dict[str, Report]] = {}
    for row in found:
        by_scheme.setdefault(row["scheme"], {})[row["quantity"]] = row
    rows = []
    for scheme, ends in by_scheme.items():
        spans = [span(ends[name]["low"], ends[name]["high"], 3) for name in names]
        rows.append([scheme, *spans, f"{ends['share_ratio_above_1']['low']:.1%}"])
    title = "95 % intervals by what is resampled (prefer sizes; coarse for few sizes)"
    columns = ["scheme", *names.values(), "alpha > beta"]
    return table(title, columns, rows, words=["scheme"])


def _form_table(forms: pd.DataFrame) -> Table:
    values = {
        "rmse_left_out_point": "point",
        "rmse_left_out_size": "size",
        "rmse_left_out_count": "count",
        "rmse_largest_size": "largest",
        "max_percent_largest_size": "max %",
    }
    rows = [
        [
            str(row["form"]),
            str(row["parameters"]),
            number(row["aicc"]),
            *(number(row[key], 3) for key in values),
        ]
        for row in forms.to_dict("records")
    ]
    title = "Rival forms: RMSE with each point, size or count left out, and of the largest size"
    return table(title, ["form", "k", "AICc", *values.values()], rows, words=["form"])
