"""The paper's claims against what its released numbers and our studies give."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from vlmscale.analysis.checks.audit import audit, load_evidence
from vlmscale.cli.output import Report, number, span, status, table
from vlmscale.errors import UserError
from vlmscale.resources import find_resource


def check(studies: Sequence[Path], claim: str | None) -> Report:
    """Verdicts on all claims, or on the one with the id `claim`.

    studies: folders of results whose numbers count as evidence, too.
    """
    with status("checking claims"):
        found = audit(load_evidence(find_resource("published").parent, studies))
    if claim is not None:
        known = found["id"].astype(str)
        found = found[known.str.lower() == claim.lower()]
        if found.empty:
            raise UserError(f"no claim {claim!r}. There are: {', '.join(known)}.")
    return {"verdicts": found["verdict"].value_counts().to_dict(), "claims": found}


def show(console: Console, report: Report) -> None:
    columns = ["id", "claim", "paper", "ours", "verdict"]
    rows = [
        [str(row["id"]), str(row["claim"]), _text(row["paper_value"]), _ours(row), row["verdict"]]
        for row in report["claims"].to_dict("records")
    ]
    console.print(table("Claims of the paper", columns, rows, words=columns))
    counts = [f"{verdict}: {count}" for verdict, count in report["verdicts"].items()]
    console.print(", ".join(counts))
    claims = report["claims"]
    again = claims.loc[claims["retrained"] != "", "id"]
    if len(again):
        console.print(
            f"Asked again of the studies, which changes no verdict: {', '.join(again)}. One of them: "
            f"--claim {again.iloc[0]}."
        )


def show_one(console: Console, report: Report) -> None:
    """All that is known of each claim, one line a column."""
    for row in report["claims"].to_dict("records"):
        for column, value in row.items():
            console.print(f"{column:>14}  {_text(value)}")


def _ours(row: dict[Any, Any]) -> str:
    if pd.isna(row["low"]):
        return _text(row["value"])
    return f"{_text(row['value'])} ({span(row['low'], row['high'])})"


def _text(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
