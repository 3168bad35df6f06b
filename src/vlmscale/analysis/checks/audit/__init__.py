"""Each claim of the paper, checked by code.

The table of claims (resources/published/claims.csv) gives for each the range of a number that its wording
allows; a check in this package computes the number. The verdict follows from the two, by one rule:

| verdict         | when                                                                   |
|-----------------|------------------------------------------------------------------------|
| reproduced      | the number lies in the range                                           |
| within interval | it does not, but its 95 % interval reaches the range                   |
| not reproduced  | neither                                                                |
| needs training  | no released number decides it, and no study given has produced one     |
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

# Each module registers its checks.
from vlmscale.analysis.checks.audit import (  # noqa: F401
    compressors,
    costs,
    decisions,
    laws,
    predictions,
    release,
    retrained,
    search,
)
from vlmscale.analysis.checks.audit.checks import PROXIES, RELEASED, TRAINED, Measure
from vlmscale.analysis.checks.audit.evidence import Evidence, load_evidence
from vlmscale.analysis.checks.audit.study import Study

__all__ = ["VERDICTS", "Evidence", "audit", "audit_markdown", "load_evidence", "verdict"]

VERDICTS = ("reproduced", "within interval", "not reproduced", "needs training")


def decide(measure: Measure | None, paper_low: float, paper_high: float) -> str:
    """The rule of the module's table; `measure` is None where nothing could be computed."""
    if measure is None:
        return "needs training"
    if paper_low <= measure.value <= paper_high:
        return "reproduced"
    if measure.low is None or measure.high is None:
        return "not reproduced"
    reaches = measure.low <= paper_high and measure.high >= paper_low
    return "within interval" if reaches else "not reproduced"


def audit(evidence: Evidence) -> pd.DataFrame:
    """One row a claim: id, section, claim, paper_value, quantity, paper_low, paper_high, value, low,
    high, interval_over, verdict, how, retrained.

    A claim that needs training is decided by the first study whose LLMs are all real ones, listed in
    resources/backbones; what a miniature finds is told in `how` and decides nothing. `retrained`
    says what studies give for a claim that the released numbers have decided, "" where none has its cells.
    """
    rows = []
    for claim in evidence.claims.to_dict("records"):
        measure, how = _measure(str(claim["id"]), claim, evidence)
        rows.append(
            {
                **{key: claim[key] for key in ("id", "section", "claim", "paper_value")},
                "quantity": claim["quantity"] if isinstance(claim["quantity"], str) else "",
                "paper_low": claim["paper_low"],
                "paper_high": claim["paper_high"],
                "value": None if measure is None else float(measure.value),
                "low": None if measure is None else measure.low,
                "high": None if measure is None else measure.high,
                "interval_over": "" if measure is None else measure.interval_over,
                "verdict": decide(measure, claim["paper_low"], claim["paper_high"]),
                "how": how,
                "retrained": _retrained(claim, evidence),
            }
        )
    numbers = ["value", "low", "high"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))


def _measure(name: str, claim: Mapping[Any, Any], evidence: Evidence) -> tuple[Measure | None, str]:
    """What decides a claim, if anything does, and the words to it."""
    if name in RELEASED:
        measure = RELEASED[name](evidence)
        return measure, measure.how
    words = [PROXIES[name](evidence)] if name in PROXIES else []
    for study, found in _by_studies(name, evidence):
        if isinstance(found, str):
            words.append(found)
        elif _is_real(study, evidence):
            return found, f"Study {study.folder.name}. {found.how}"
        else:
            words.append(f"In miniature, study {study.folder.name}: {found.value:.4g}. {found.how}")
    return None, " ".join([f"Would settle it: {claim['settled_by']}.", *words])


def _retrained(claim: Mapping[Any, Any], evidence: Evidence) -> str:
    name, words = str(claim["id"]), []
    for study, found in _by_studies(name, evidence) if name in RELEASED else ():
        if isinstance(found, Measure) and _is_real(study, evidence):
            interval = _interval(vars(found)) if found.low is not None else ""
            reached = decide(found, claim["paper_low"], claim["paper_high"])
            number = _number(found.value) + (f", 95 % interval {interval}" if interval else "")
            words.append(f"Study {study.folder.name}: {number}, **{reached}**. {found.how}".strip())
    return " ".join(words)


def _by_studies(name: str, evidence: Evidence) -> Iterator[tuple[Study, Measure | str]]:
    """What each study with the cells for a claim gives for it, or why it may not be asked."""
    if name not in TRAINED:
        return
    asked = TRAINED[name]
    for study in evidence.studies.values():
        if asked.protocol and study.protocol not in (None, asked.protocol):
            yield (
                study,
                f"Study {study.folder.name} was asked by protocol {study.protocol}, this claim is about "
                f"{asked.protocol}.",
            )
        elif (found := asked.check(evidence, study)) is not None:
            yield study, found


def _is_real(study: Study, evidence: Evidence) -> bool:
    """Whether its LLMs are those of resources/backbones, rather than a miniature's."""
    return set(study.errors["llm"]) <= set(evidence.architectures)


def audit_markdown(table: pd.DataFrame) -> str:
    """The audit for readers: counts, one table, then each claim with how it was checked."""
    counts = table["verdict"].value_counts()
    tally = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    lines = [
        "# Audit of *Inference Optimal VLMs Need Only One Visual Token but Larger Models*",
        "",
        f"{len(table)} claims of arXiv 2411.03312 v1 and checks of what was released with it: {tally}.",
        "",
        "Every number of ours is computed from the released scores, tables and readings in",
        "`resources/published/`, or from a study's results. *Reproduced*: our number lies",
        "in the range that the claim's wording allows. *Within interval*: it does not, but its 95 %",
        "interval reaches that range. *Not reproduced*: neither. *Needs training*: nothing released",
        "decides it. Intervals come from refits with whole LLM sizes resampled, D free.",
        "",
        "| | claim | section | paper | ours | 95 % interval | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table.to_dict("records"):
        cells = [row["claim"], row["section"], row["paper_value"], _number(row["value"])]
        lines.append(
            f"| {row['id']} | {' | '.join(map(str, cells))} | {_interval(row)} | {row['verdict']} |"
        )
    for row in table.to_dict("records"):
        lines += ["", f"## {row['id']}: {row['claim']}", ""]
        if row["quantity"]:
            lines.append(f"- Checked: {row['quantity']}; the wording allows {_range(row)}.")
        if row["value"] == row["value"]:  # not missing
            interval = f", 95 % interval {_interval(row)}" if _interval(row) else ""
            lines.append(f"- Ours: {_number(row['value'])}{interval}.")
        lines.append(f"- Verdict: **{row['verdict']}**. {row['how']}")
        if row["retrained"]:
            lines.append(f"- Trained again: {row['retrained']}")
    return "\n".join(lines) + "\n"


def _range(row: dict[Any, Any]) -> str:
    low, high = row["paper_low"], row["paper_high"]
    if low == high:
        return f"{_number(low)} alone"
    if high == float("inf"):
        return f"{_number(low)} and more"
    if low == -float("inf"):
        return f"{_number(high)} and less"
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return "" if value != value else f"{value:.4g}"


def _interval(row: dict[Any, Any]) -> str:
    if row["low"] != row["low"]:
        return ""
    return f"{_number(row['low'])} to {_number(row['high'])} ({row['interval_over']})"
