"""How a claim is checked: one function for each id, found through `released` and `trained`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.study import Study
from vlmscale.analysis.laws.answers import Scores
from vlmscale.analysis.laws.bootstrap import Scheme
from vlmscale.analysis.laws.points import Floats
from vlmscale.study.selection import RELEASED_PROTOCOL


@dataclass(frozen=True)
class Measure:
    """What we find for a claim."""

    value: float
    low: float | None = None
    high: float | None = None
    interval_over: str = ""  # what was resampled for low and high (95 %)
    how: str = ""  # how it was found, and what else belongs to it


Released = Callable[[Evidence], Measure]
# -> None when the study lacks what the claim needs
Check = Callable[[Evidence, Study], Measure | None]


@dataclass(frozen=True)
class Trained:
    """The check of a claim by a study of our own."""

    check: Check
    protocol: str | None  # by which the claim's questions are put; None: any


RELEASED: dict[str, Released] = {}
TRAINED: dict[str, Trained] = {}
PROXIES: dict[str, Callable[[Evidence], str]] = {}  # what released numbers say of such a claim


def released(claim: str, *, again: bool = False) -> Callable[[Released], Released]:
    """The check of a claim that the released numbers decide.

    again: it looks at the released suites, so that a study with the same cells answers it, too.
    """

    def register(check: Released) -> Released:
        RELEASED[claim] = check
        if again:
            TRAINED[claim] = Trained(_with_own_scores(check), RELEASED_PROTOCOL)
        return check

    return register


def _with_own_scores(check: Released) -> Check:
    def by_study(evidence: Evidence, study: Study) -> Measure | None:
        own = evidence.with_own_scores[study.folder.name]
        # Its words are about the released scores.
        return None if own is None else replace(check(own), how="")

    return by_study


def trained(claim: str, *, protocol: str | None = None) -> Callable[[Check], Check]:
    """The check of a claim by a study: one that needs it, or one that was made of printed numbers."""

    def register(check: Check) -> Check:
        TRAINED[claim] = Trained(check, protocol)
        return check

    return register


def proxy(claim: str) -> Callable[[Callable[[Evidence], str]], Callable[[Evidence], str]]:
    """What the released numbers hint at for a claim that needs a study."""

    def register(check: Callable[[Evidence], str]) -> Callable[[Evidence], str]:
        PROXIES[claim] = check
        return check

    return register


def over_sizes(value: float, draws: Floats, how: str, scheme: Scheme = "sizes") -> Measure:
    """A measure whose interval comes from refits with LLM sizes resampled, or points of two sizes."""
    return _measure(value, draws, "LLM sizes" if scheme == "sizes" else "points", how)


def over_answers(scores: Scores, number: Callable[[Floats], Floats], how: str) -> Measure:
    """A measure of `scores`, (g, b) -> a number, whose interval is over questions and seeds."""
    over = "questions" + (f" and {scores.seeds} seeds" if scores.seeds > 1 else "")
    return _measure(float(number(scores.measured)), number(scores.drawn), over, how)


def _measure(value: float, draws: Floats, over: str, how: str) -> Measure:
    """Infinite draws stay infinite."""
    low, high = np.quantile(draws, [0.025, 0.975], method="closest_observation")
    return Measure(float(value), float(low), float(high), over, how)
