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
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

# Each module registers its checks.
from vlmscale.analysis.checks.audit import (  # noqa: F401
    costs,
    decisions,
    laws,
    methods,
    predictions,
    release,
    search,
    table1,
)
from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.registry import HINTS, RELEASED, TRAINED
from vlmscale.analysis.checks.audit.study import Study
from vlmscale.analysis.checks.engine import Claim, Finding, Verdict, lies_within, tabulate_claims

_GIVEN = ("section", "paper_value", "quantity", "paper_low", "paper_high")  # from claims.csv
_COLUMNS = {
    **{"id": "id", "section": "section", "claim": "text"},
    **{name: name for name in (*_GIVEN[1:], "value", "low", "high")},
    **{"interval_over": "over", "verdict": "verdict", "how": "note", "retrained": "retrained"},
}


def audit(evidence: Evidence) -> pd.DataFrame:
    """Check every claim: one row each.

    Columns: id, section, claim, paper_value, quantity, paper_low, paper_high, value, low, high,
    interval_over, verdict, how, retrained. A claim that needs training is decided by the first study whose
    LLMs are all listed in resources/backbones; what a miniature finds is only mentioned in `how`.
    `retrained` says what studies find about a claim that the released numbers decide, or "".
    """
    rows = []
    for row in evidence.claims.fillna({"quantity": ""}).to_dict("records"):
        rule = lies_within(row["paper_low"], row["paper_high"])
        claim = Claim(row["id"], row["claim"], rule, partial(_find, row))
        given = {name: row[name] for name in _GIVEN}
        rows.append(claim.check(evidence, **given, retrained=_check_again(claim, evidence)))
    table = tabulate_claims(rows, _COLUMNS, verdict=lambda found: Verdict(found).on_paper)
    return table.astype(dict.fromkeys(["value", "low", "high"], float))


def _find(row: Mapping[Any, Any], evidence: Evidence) -> Finding:
    """Return the number that decides the claim in `row`; without one the note says what would."""
    if row["id"] in RELEASED:
        return RELEASED[row["id"]](evidence)
    notes = [f"Would settle it: {row['settled_by']}."]
    if row["id"] in HINTS:
        notes.append(HINTS[row["id"]](evidence))
    for study, found in _check_studies(row["id"], evidence):
        name = study.folder.name
        if isinstance(found, str):
            notes.append(found)
        elif _has_real_llms(study, evidence):
            return replace(found, note=f"Study {name}. {found.note}")
        else:
            notes.append(f"In miniature, study {name}: {found.value:.4g}. {found.note}")
    return Finding(note=" ".join(notes))


def _check_again(claim: Claim[Evidence], evidence: Evidence) -> str:
    """Say what studies find about a claim that the released numbers decide."""
    notes = []
    for study, found in _check_studies(claim.id, evidence) if claim.id in RELEASED else ():
        if isinstance(found, Finding) and _has_real_llms(study, evidence):
            number = describe_number(found.value, found.low, found.high, found.over)
            verdict = claim.rule(found).on_paper
            notes.append(
                f"Study {study.folder.name}: {number}, **{verdict}**. {found.note}".strip()
            )
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
        elif (found := trained.check(evidence, study)) is not None:
            yield study, found


def _has_real_llms(study: Study, evidence: Evidence) -> bool:
    """Return whether its LLMs are in resources/backbones; those of a miniature are not."""
    return set(study.errors["llm"]) <= set(evidence.architectures)


def describe_number(value: float, low: float, high: float, over: str) -> str:
    """Write a number and, if it has one, its 95 % interval."""
    interval = describe_interval(low, high, over)
    return f"{value:.4g}" + (f", 95 % interval {interval}" if interval else "")


def describe_interval(low: float, high: float, over: str) -> str:
    """Write an interval and what was resampled for it; nothing for NaN."""
    return "" if np.isnan(low) else f"{low:.4g} to {high:.4g} ({over})"
