"""The page of the audit: the paper's claims, our numbers and verdicts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.run import describe_interval, describe_number
from vlmscale.analysis.checks.engine import Verdict
from vlmscale.report.format import format_markdown

_PAGE = """\
# Audit of *Inference Optimal VLMs Need Only One Visual Token but Larger Models*

{claims} claims of arXiv 2411.03312 v1 and checks of what was released with it: {counts}.

Every number of ours is computed from the released scores, tables and readings in
`src/vlmscale/resources/published/`, or from a study's results. *Reproduced*: our number lies
in the range that the claim's wording allows. *Within interval*: it does not, but its 95 %
interval reaches that range. *Not reproduced*: neither. *Needs training*: nothing released
decides it. Intervals are of the hierarchical model: LLMs differ from the law by an offset and a
slope, and D = 0 has prior probability one half (docs/intervals.md).

"""


def format_audit(table: pd.DataFrame) -> str:
    """Write the table of audit() as a page: counts, one table, then each claim and how it was checked."""
    rows = table.to_dict("records")
    verdicts = [verdict.on_paper for verdict in Verdict]
    counts = ", ".join(f"{(table['verdict'] == verdict).sum()} {verdict}" for verdict in verdicts)
    summary = {
        "": table["id"],
        "claim": table["claim"],
        "section": table["section"],
        "paper": table["paper_value"].astype(str),
        "ours": ["" if np.isnan(value) else f"{value:.4g}" for value in table["value"]],
        "95 % interval": [describe_interval(*_interval(row)) for row in rows],
        "verdict": table["verdict"],
    }
    page = _PAGE.format(claims=len(rows), counts=counts) + format_markdown(pd.DataFrame(summary))
    return page + "".join(_format_claim(row) for row in rows)


def _format_claim(row: Mapping[Any, Any]) -> str:
    lines = [f"\n## {row['id']}: {row['claim']}\n"]
    if row["quantity"]:
        allowed = _describe_range(row["paper_low"], row["paper_high"])
        lines.append(f"- Checked: {row['quantity']}; the wording allows {allowed}.")
    if not np.isnan(row["value"]):
        lines.append(f"- Ours: {describe_number(row['value'], *_interval(row))}.")
    lines.append(f"- Verdict: **{row['verdict']}**. {row['how']}")
    if row["retrained"]:
        lines.append(f"- Trained again: {row['retrained']}")
    return "\n".join(lines) + "\n"


def _interval(row: Mapping[Any, Any]) -> tuple[float, float, str]:
    return row["low"], row["high"], row["interval_over"]


def _describe_range(low: float, high: float) -> str:
    if low == high:
        return f"{low:.4g} alone"
    if high == np.inf:
        return f"{low:.4g} and more"
    return f"{high:.4g} and less" if low == -np.inf else f"{low:.4g} to {high:.4g}"
