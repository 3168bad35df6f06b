"""Print what `vlmscale recommend` answers."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from vlmscale.cli.fit_output import write_formula
from vlmscale.cli.output import Columns, Report, number, print_table, span


def show(console: Console, report: Report) -> None:
    """Print the choices, the continuous optimum, the law and its warnings."""
    choice, unit = report["choice"], report["unit"]
    budget = f"{report['question']['budget']:g} {unit}"
    tower = report["question"]["tower_gflops"]
    counted = f", {tower:.3g} of them for the vision tower {report['question']['tower']}"
    console.print(
        f"{name_choice(choice)}: predicted error {choice['error']:.4f}, for {choice['cost']:.4g} of "
        f"{budget}{counted if tower else ''}.",
        style="bold",
    )
    for warning in report["warnings"]:
        console.print(f"warning: {warning}", style="yellow")
    second = report["runner_up"]
    if second is not None:
        console.print(
            f"Runner-up: {name_choice(second)}, error {second['error']:.4f}, {second['margin']:.4f} more. "
            f"The choice is the best in {choice['share_best']:.0%} of the drawn laws"
            f"{', if the law holds that far' * bool(choice['extrapolates'])}."
        )
    if report["sharing"]:
        console.print(report["sharing"])
    if report["more_tokens_always_win"]:
        console.print(
            "By this law (alpha <= beta) more tokens beat a larger LLM at every budget: keep as many "
            "as the budget allows."
        )
    columns: Columns = {
        "LLM": "llm",
        "tokens": "visual_tokens",
        "error": lambda row: f"{row['error']:.4f}",
        "95 %": lambda row: f"{row['error_low']:.4f}–{row['error_high']:.4f}",
        "margin": lambda row: f"{row['margin']:.4f}",
        unit: "cost",
        "best in": lambda row: f"{row['share_best']:.0%}",
    }
    if "memory_gb" in report["choices"]:
        columns["GB"] = lambda row: number(row["memory_gb"], 3)
    if "kv_mb" in report["choices"]:
        columns["MB kept"] = lambda row: number(row["kv_mb"], 3)
    print_table(console, f"Within {budget}", report["choices"], columns, words=["LLM"])
    if (best := report["continuous"]) is not None:
        console.print(
            f"If every size existed: V* = {number(best['visual_tokens'])} tokens "
            f"({span(best['tokens_low'], best['tokens_high'])}) with an LLM of "
            f"{number(best['n_params_b'])}B, error {best['error']:.4f}; within 1 % of it from "
            f"{number(best['flat_low'], 3)} to {number(best['flat_high'], 3)} tokens."
        )
    law = report["law"]
    bounds = f" ({law['bounds']})" if law["bounds"] else ""
    console.print(
        f"Law: {write_formula(law)}{bounds}, alpha / beta = {number(law['ratio'])}, least squares on "
        f"{law['points']} points of {law['source']}. {law['size_axis']}. 95 %: {law['interval']}."
    )
    for note in report["notes"]:
        console.print(note)


def name_choice(choice: Mapping[Any, Any]) -> str:
    """Return LLM and token count of a choice in words."""
    tokens = choice["visual_tokens"]
    return f"{choice['llm']} with {tokens} visual token{'s'[: tokens > 1]}"
