"""Summarise a finished study on one screen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from vlmscale.cli.output import Report, number, table
from vlmscale.cli.points import read_table
from vlmscale.errors import UserError
from vlmscale.report.tables import main_intervals

_READ = ("verdicts", "sanity")
_OF_LAWS = ("laws", "intervals")  # which a study of one LLM lacks
_EXPONENTS = ("alpha", "beta", "ratio")
_MARKS = {
    "supported": ("✔", "green"),
    "contradicted": ("✘", "red"),
    "undecided": ("?", "yellow"),
    "not tested": ("–", "bright_black"),
}


def summarise(folder: Path) -> Report:
    """Read laws with intervals, verdicts and sanity checks from a study's results folder.

    Raises UserError when it is not the folder of a finished study.
    """
    lacking = [name for name in _READ if not (folder / f"{name}.parquet").is_file()]
    if lacking:
        raise UserError(
            f"{folder} holds no finished study: {lacking[0]}.parquet is missing. `make run` makes "
            "results/mini; snakemake --configfile config/<study>.yaml makes results/<study>."
        )
    verdicts, sanity = (read_table(folder / f"{name}.parquet") for name in _READ)
    laws = []
    if (folder / "laws.parquet").is_file():
        table, intervals = (read_table(folder / f"{name}.parquet") for name in _OF_LAWS)
        laws = [_law(row, intervals) for row in table.to_dict("records")]
    return {
        "study": folder.resolve().name,
        "laws": laws,
        "verdicts": verdicts,
        "sanity": {"checks": len(sanity), "failed": sanity[~sanity["holds"]]},
        "where": {
            "figures": str(folder / "figures"),
            "tables": str(folder / "tables"),
            "audit": str(folder / "audit.md"),
        },
    }


def _law(law: Mapping[Any, Any], intervals: pd.DataFrame) -> Report:
    spread = main_intervals(intervals, law)
    named = ("series", "family", *_EXPONENTS, "floor", "floor_bound", "points")
    ends = {
        f"{name}_{end}": spread.loc[name, end] for name in _EXPONENTS for end in ("low", "high")
    }
    return {**{name: law[name] for name in named}, **ends, "resampled": spread["scheme"].iloc[0]}


def show(console: Console, report: Report) -> None:
    """Print laws, verdicts, sanity checks and where the files are."""
    columns = ["law", "alpha", "beta", "alpha/beta", "D"]
    for family in dict.fromkeys(law["family"] for law in report["laws"]):
        rows = [
            [
                law["series"],
                *(
                    _value(law[name], law[f"{name}_low"], law[f"{name}_high"])
                    for name in _EXPONENTS
                ),
                number(law["floor"], 2) + (" (bound)" if law["floor_bound"] != "interior" else ""),
            ]
            for law in report["laws"]
            if law["family"] == family
        ]
        title = f"{report['study']}, {family}: error = A N^-alpha V^-beta + D, 95 % intervals"
        console.print(table(title, columns, rows, words=["law"]))
    _show_verdicts(console, report["verdicts"])
    _show_sanity(console, report["sanity"])
    console.print()
    for what, place in report["where"].items():
        console.print(f"{what}: {place}")


def _value(value: float, low: float, high: float) -> str:
    if pd.isna(low):
        return number(value, 2)
    return f"{number(value, 2)} [{number(low, 2)}, {number(high, 2)}]"


def _show_verdicts(console: Console, verdicts: pd.DataFrame) -> None:
    console.print("\nHypotheses; how each was decided: tables/verdicts.md", style="bold")
    about = [
        ", ".join(filter(None, words))
        for words in verdicts[["series", "budget", "family"]].itertuples(index=False)
    ]
    verdicts = verdicts.assign(about=about)
    width = max(map(len, about))
    for (name, hypothesis), mine in verdicts.groupby(["id", "hypothesis"], sort=False):
        console.print(f"\n{name} {hypothesis}")
        untested = mine["verdict"] == "not tested"
        for row in mine[~untested].to_dict("records"):
            result = _value(row["value"], row["low"], row["high"])
            _show_verdict(console, row["verdict"], f"{row['about']:<{width}}  {result}")
        # One line for each reason: a small study leaves many open.
        for why, rows in mine[untested].groupby("note", sort=False):
            where = rows["about"].iloc[0] if len(rows) == 1 else f"{len(rows)} cases"
            _show_verdict(console, "not tested", f"{where:<{width}}  {why}")


def _show_verdict(console: Console, verdict: str, words: str) -> None:
    mark, colour = _MARKS[verdict]
    console.print(Text.assemble((f"  {mark} {verdict:<12}", colour), f"  {words}"))


def _show_sanity(console: Console, sanity: Mapping[str, Any]) -> None:
    failed = sanity["failed"]
    if failed.empty:
        console.print(Text(f"\nSanity: all {sanity['checks']} checks hold", style="green"))
        return
    columns = ["check", "budget", "subject", "value", "reference", "note"]
    rows = [
        [number(value, 3) if isinstance(value, float) else str(value) for value in row]
        for row in failed[columns].itertuples(index=False)
    ]
    title = f"Sanity: {len(failed)} of {sanity['checks']} checks fail"
    console.print(table(title, columns, rows, words=[*columns[:3], "note"]))
