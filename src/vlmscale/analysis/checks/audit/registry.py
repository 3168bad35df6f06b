"""Which function checks which claim; the decorators fill the two tables."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.study import MissingCells, Study
from vlmscale.analysis.checks.engine import Finding
from vlmscale.study.selection import RELEASED_PROTOCOL

Check = Callable[..., Finding]  # of Evidence
StudyCheck = Callable[..., Finding]  # of Evidence, Study; raises MissingCells


@dataclass(frozen=True)
class Trained:
    """The check of a claim by a study."""

    check: StudyCheck
    protocol: str | None  # that the study's benchmarks must follow; None: any


RELEASED: dict[str, Check] = {}
TRAINED: dict[str, Trained] = {}


def released(claim: str, *, again: bool = False, **given: Any) -> Callable[[Check], Check]:
    """Register the check of a claim that the released numbers decide; `given` are its arguments.

    again: the check needs the released suites alone, so that it also runs on a study with the same cells.
    """

    def register(check: Check) -> Check:
        RELEASED[claim] = partial(check, **given)
        if again:
            TRAINED[claim] = Trained(partial(_check_own_scores, RELEASED[claim]), RELEASED_PROTOCOL)
        return check

    return register


def _check_own_scores(check: Check, evidence: Evidence, study: Study) -> Finding:
    own = evidence.with_own_scores[study.folder.name]
    if own is None:
        raise MissingCells
    return replace(check(own), note="")  # the note is about the released scores


def trained(
    claim: str, *, protocol: str | None = None, **given: Any
) -> Callable[[StudyCheck], StudyCheck]:
    """Register the check of a claim by a study; `given` are its arguments."""

    def register(check: StudyCheck) -> StudyCheck:
        TRAINED[claim] = Trained(partial(check, **given), protocol)
        return check

    return register
