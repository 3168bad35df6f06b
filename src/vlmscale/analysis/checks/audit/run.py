"""Check every claim of the paper (resources/published/claims.csv).

The table of claims gives for each the range of a number that its wording allows; a function in this package
finds the number.

| verdict         | when                                                                   |
|-----------------|------------------------------------------------------------------------|
| reproduced      | the number lies in the range                                           |
| within interval | it does not, but its 95 % interval reaches the range                   |
| not reproduced  | neither                                                                |
| needs training  | no released number decides the claim, and no given study does          |
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

# Each module registers its checks.
from vlmscale.analysis.checks.audit import costs, decisions, forms, laws, release, studies, table1  # noqa: F401
from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.registry import RELEASED, TRAINED
from vlmscale.analysis.checks.audit.study import MissingCells, Study
from vlmscale.analysis.checks.engine import Finding, Verdict, judge

_COLUMNS = [
    *("id", "section", "claim", "paper_value", "quantity", "paper_low", "paper_high"),
    *("value", "low", "high", "interval_over", "verdict", "how", "retrained"),
]


def audit(evidence: Evidence) -> pd.DataFrame:
    """Check every claim: one row each.

    Columns: id, section, claim, paper_value, quantity, paper_low, paper_high, value, low, high,
    interval_over, verdict, how, retrained. A claim that needs training is decided by the first study whose
    LLMs are all listed in resources/backbones; what a miniature finds is only mentioned in `how`.
    `retrained` says what studies find about a claim that the released numbers decide, or "".
    """
    rows = []
    for claim in evidence.claims.fillna({"quantity": ""}).to_dict("records"):
        found, low, high = _find(claim, evidence), claim["paper_low"], claim["paper_high"]
        verdict = judge(found, low, high)
        if verdict is Verdict.HOLDS and (found.low < low or found.high > high):
            beyond = "The 95 % interval reaches beyond the claim's range."
            found = replace(found, note=f"{found.note} {beyond}")
        retrained = _check_again(claim, evidence)
        decided = {**vars(found), "verdict": verdict.on_paper, "retrained": retrained}
        rows.append(claim | decided)
    table = pd.DataFrame(rows).rename(columns={"over": "interval_over", "note": "how"})
    return table[_COLUMNS].astype(dict.fromkeys(["value", "low", "high"], float))


def _find(claim: Mapping[Any, Any], evidence: Evidence) -> Finding:
    """Return the number that decides a claim; without one the note says what would."""
    if claim["id"] in RELEASED:
        return RELEASED[claim["id"]](evidence)
    notes = [f"Would settle it: {claim['settled_by']}."]
    if claim["id"] == "C10":
        notes.append(laws.hint_at_14b(evidence))
    for study, found in _check_studies(claim["id"], evidence):
        name = study.folder.name
        if isinstance(found, str):
            notes.append(found)
        elif _has_real_llms(study, evidence):
            return replace(found, note=f"Study {name}. {found.note}")
        else:
            notes.append(f"In miniature, study {name}: {found.value:.4g}. {found.note}")
    return Finding(note=" ".join(notes))


def _check_again(claim: Mapping[Any, Any], evidence: Evidence) -> str:
    """Say what studies find about a claim that the released numbers decide."""
    notes = []
    name = claim["id"]
    for study, found in _check_studies(name, evidence) if name in RELEASED else ():
        if isinstance(found, Finding) and _has_real_llms(study, evidence):
            number = describe_number(found.value, found.low, found.high, found.over)
            verdict = judge(found, claim["paper_low"], claim["paper_high"]).on_paper
            note = f"Study {study.folder.name}: {number}, **{verdict}**. {found.note}"
            notes.append(note.strip())
    return " ".join(notes)


def _check_studies(claim: str, evidence: Evidence) -> Iterator[tuple[Study, Finding | str]]:
    """Yield what each study with the cells for a claim finds, or why it does not count."""
    if claim not in TRAINED:
        return
    trained = TRAINED[claim]
    for study in evidence.studies.values():
        if trained.protocol and study.protocol not in (None, trained.protocol):
            yield (
                study,
                f"Study {study.folder.name} followed protocol {study.protocol}; this claim is about "
                f"{trained.protocol}.",
            )
            continue
        with suppress(MissingCells):
            yield study, trained.check(evidence, study)


def _has_real_llms(study: Study, evidence: Evidence) -> bool:
    """Return whether its LLMs are in resources/backbones; those of a miniature are not."""
    return set(study.errors["llm"]) <= set(evidence.architectures)


def describe_number(value: float, low: float, high: float, over: str) -> str:
    """Write a number and, if it has one, its 95 % interval."""
    interval = describe_interval(low, high, over)
    return f"{value:.4g}" + (f", 95 % interval {interval}" if interval else "")


def describe_interval(low: float, high: float, over: str) -> str:
    """Write an interval and its scheme, or what was resampled for it; nothing for NaN."""
    if np.isnan(low):
        return ""
    if low == high:  # not certain: no draw leaves the bound
        return f"at the bound {low:.4g} ({over})"
    return f"{low:.4g} to {'unbounded' if np.isinf(high) else f'{high:.4g}'} ({over})"
