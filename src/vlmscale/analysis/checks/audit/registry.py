"""Which function checks which claim; the decorators fill the three tables."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.study import Study
from vlmscale.analysis.checks.engine import Finding
from vlmscale.study.selection import RELEASED_PROTOCOL

Check = Callable[..., Finding]  # of Evidence
StudyCheck = Callable[..., Finding | None]  # of Evidence, Study; None: the study lacks the cells
Hint = Callable[[Evidence], str]


@dataclass(frozen=True)
class Trained:
    """The check of a claim by a study."""

    check: StudyCheck
    protocol: str | None  # that the study's benchmarks must follow; None: any


RELEASED: dict[str, Check] = {}
TRAINED: dict[str, Trained] = {}
HINTS: dict[str, Hint] = {}


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


def _check_own_scores(check: Check, evidence: Evidence, study: Study) -> Finding | None:
    own = evidence.with_own_scores[study.folder.name]
    # The note is about the released scores.
    return None if own is None else replace(check(own), note="")


def trained(
    claim: str, *, protocol: str | None = None, **given: Any
) -> Callable[[StudyCheck], StudyCheck]:
    """Register the check of a claim by a study; `given` are its arguments."""

    def register(check: StudyCheck) -> StudyCheck:
        TRAINED[claim] = Trained(partial(check, **given), protocol)
        return check

    return register


def hint(claim: str) -> Callable[[Hint], Hint]:
    """Register what the released numbers suggest about a claim that needs a study."""

    def register(check: Hint) -> Hint:
        HINTS[claim] = check
        return check

    return register
