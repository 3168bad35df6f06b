"""Summarise a finished study on one screen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from vlmscale.analysis.collect_vlms import describe_departures
from vlmscale.analysis.laws.intervals import is_inside
from vlmscale.cli.findings import describe_findings
from vlmscale.cli.output import Columns, Report, number, print_table
from vlmscale.errors import UserError
from vlmscale.records.tables import read_table
from vlmscale.report.tables import add_intervals

_EXPONENTS = ("alpha", "beta", "ratio")
_OF_LAWS = ["series", "family", *_EXPONENTS, "floor", "floor_bound", "points", "bounds"]
_OF_INTERVALS = [f"{name}_{end}" for name in _EXPONENTS for end in ("low", "high")]
# What is read of each table.
_COLUMNS = {
    "verdicts": [
        "id",
        "hypothesis",
        "series",
        "budget",
        "family",
        "value",
        "low",
        "high",
        "p",
        "p_holm",
        "verdict",
        "note",
    ],
    "sanity": ["check", "budget", "subject", "value", "reference", "holds", "note"],
    "laws": _OF_LAWS,
    "intervals": ["series", "family", "scheme", "quantity", "low", "high"],
}
_PLACES = {
    "explorer": "explorer (which LLM, how many tokens?)",
    "gallery": "gallery (what each model answered)",
    "report": "report (figures, tables, verdicts)",
    "figures": "figures",
    "tables": "tables",
    "audit": "audit of the paper's claims",
}
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
    departures: list[str] = []
    if (counted := folder / "visual_tokens.parquet").is_file():  # of released VLMs
        verdicts, sanity = (pd.DataFrame(columns=_COLUMNS[name]) for name in ("verdicts", "sanity"))
        departures = describe_departures(read_table(counted))
    else:
        verdicts, sanity = _read(folder, "verdicts"), _read(folder, "sanity")
    if not verdicts["verdict"].isin(_MARKS).all():
        raise UserError(
            f"{folder / 'verdicts.parquet'}: a verdict must be one of {', '.join(_MARKS)}"
        )
    laws = []
    if (folder / "laws.parquet").is_file():  # which a study of one LLM lacks
        table = add_intervals(_read(folder, "laws"), _read(folder, "intervals"))
        laws = table[[*_OF_LAWS, *_OF_INTERVALS, "resampled"]].to_dict("records")
    pages = {  # a study without a law has no explorer, and `make report` writes the report
        "explorer": folder / "explorer.html",
        "gallery": folder / "gallery.html",
        "report": folder.parent / "report.html",
    }
    return {
        "study": folder.resolve().name,
        "laws": laws,
        "verdicts": verdicts,
        "findings": describe_findings(laws, verdicts, sanity) + departures,
        "sanity": {"checks": len(sanity), "failed": sanity[~sanity["holds"].astype(bool)]},
        "where": {
            "figures": str(folder / "figures"),
            "tables": str(folder / "tables"),
            **({"audit": str(folder / "audit.md")} if len(verdicts) else {}),
            **{what: str(page) for what, page in pages.items() if page.is_file()},
        },
    }


def _read(folder: Path, name: str) -> pd.DataFrame:
    file = folder / f"{name}.parquet"
    if not file.is_file():
        raise UserError(
            f"{folder} holds no finished study: {name}.parquet is missing. `make run` makes results/mini; "
            "snakemake --configfile config/<study>.yaml makes results/<study>."
        )
    table = read_table(file)
    lacking = [column for column in _COLUMNS[name] if column not in table]
    if lacking:
        raise UserError(
            f"{file} was made by another version: it has no column {', '.join(map(repr, lacking))}. Run "
            "the study again."
        )
    return table


def show(console: Console, report: Report) -> None:
    """Print laws, verdicts, sanity checks, what was found in words, and where the files are."""
    columns: Columns = {
        "law": "series",
        "alpha": lambda law: _value(law, "alpha"),
        "beta": lambda law: _value(law, "beta"),
        "alpha/beta": lambda law: _value(law, "ratio"),
        "D": lambda law: number(law["floor"], 2) + " (bound)" * (law["floor_bound"] != "interior"),
        "at a bound": lambda law: law["bounds"] or "-",
    }
    for family in dict.fromkeys(law["family"] for law in report["laws"]):
        rows = [law for law in report["laws"] if law["family"] == family]
        title = f"{report['study']}, {family}: error = A N^-alpha V^-beta + D, 95 % intervals"
        print_table(console, title, rows, columns, words=["law", "at a bound"])
    if len(report["verdicts"]):
        _show_verdicts(console, report["verdicts"])
        _show_sanity(console, report["sanity"])
    console.print("\nWhat was found", style="bold")
    for line, finding in enumerate(report["findings"], 1):
        console.print(f"{line}. {finding}")
    console.print()
    for what, place in report["where"].items():
        console.print(f"{_PLACES[what]}: {place}")


def _value(row: Mapping[Any, Any], name: str) -> str:
    """Write the number `name` of a row with its interval, if it has one."""
    value, low, high = (number(row[key], 2) for key in (name, f"{name}_low", f"{name}_high"))
    if row[f"{name}_low"] == row[f"{name}_high"]:  # no draw leaves the bound
        return f"{value} [at the bound]"
    if low == "-":
        return value
    inside = is_inside(*(row[key] for key in (name, f"{name}_low", f"{name}_high")))
    return f"{value}{' outside' * (not inside)} [{low}, {high}]"


def _show_verdicts(console: Console, verdicts: pd.DataFrame) -> None:
    console.print("\nHypotheses; how each was decided: tables/verdicts.md", style="bold")
    about = [
        ", ".join(filter(None, words))
        for words in verdicts[["series", "budget", "family"]].itertuples(index=False)
    ]
    ends = {"low": "value_low", "high": "value_high"}
    verdicts = verdicts.rename(columns=ends).assign(about=about)
    width = max(map(len, about))
    for (name, hypothesis), mine in verdicts.groupby(["id", "hypothesis"], sort=False):
        console.print(f"\n{name} {hypothesis}")
        untested = mine["verdict"] == "not tested"
        for row in mine[~untested].to_dict("records"):
            result = _value(row, "value")
            if not pd.isna(row["p"]):
                result += f"  p {number(row['p'], 2)}, {number(row['p_holm'], 2)} by Holm"
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
    columns: Columns = {
        **{name: name for name in ("check", "budget", "subject")},
        "value": lambda row: number(row["value"], 3),
        "reference": lambda row: number(row["reference"], 3),
        "note": "note",
    }
    title = f"Sanity: {len(failed)} of {sanity['checks']} checks fail"
    words = ["check", "budget", "subject", "note"]
    print_table(console, title, failed, columns, words=words)
