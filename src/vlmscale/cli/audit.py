"""Check the paper's claims against its released numbers and studies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from vlmscale.analysis.checks.audit.evidence import load_evidence
from vlmscale.analysis.checks.audit.run import audit as check_claims
from vlmscale.cli.output import Columns, Report, number, print_table, span, status
from vlmscale.errors import UserError
from vlmscale.resources import find_resource


def audit(studies: Sequence[str | Path] = (), claim: str | None = None) -> pd.DataFrame:
    """Return the verdict on each claim of the paper, or on the one with the id `claim`.

    studies: folders of results whose numbers count as evidence, beside the released ones. Columns: id,
    claim, paper_value, value, low, high, verdict and what else is known. Raises UserError for an unknown
    claim.
    """
    with status("checking claims"):
        evidence = load_evidence(find_resource("published").parent, [*map(Path, studies)])
        found = check_claims(evidence)
    if claim is not None:
        known = found["id"].astype(str)
        found = found[known.str.lower() == claim.lower()]
        if found.empty:
            raise UserError(f"no claim {claim!r}. There are: {', '.join(known)}.")
    return found


def show(console: Console, report: Report) -> None:
    """Print one row for each claim."""
    columns: Columns = {"id": "id", "claim": "claim", "what was measured": "quantity"}
    columns |= {"paper": "paper_value", "ours": _ours, "verdict": "verdict"}
    print_table(console, "Claims of the paper", report["claims"], columns, words=list(columns))
    counts = [f"{verdict}: {count}" for verdict, count in report["verdicts"].items()]
    console.print(", ".join(counts))
    claims = report["claims"]
    again = claims.loc[claims["retrained"] != "", "id"]
    if len(again):
        console.print(
            f"Also checked on the studies, which changes no verdict: {', '.join(again)}. One of them: "
            f"--claim {again.iloc[0]}."
        )


def show_one(console: Console, report: Report) -> None:
    """Print everything about each claim, one line per column."""
    for row in report["claims"].to_dict("records"):
        for column, value in row.items():
            console.print(f"{column:>14}  {_text(value)}")


def _ours(row: dict[Any, Any]) -> str:
    if pd.isna(row["low"]):
        return _text(row["value"])
    return f"{_text(row['value'])} ({span(row['low'], row['high'])})"


def _text(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
