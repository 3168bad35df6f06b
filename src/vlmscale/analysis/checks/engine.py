"""Claims and how they are decided: a number is found, a rule turns it into a verdict, rows make a table.

The paper's claims (audit/), a study's hypotheses (hypotheses/) and the checks of learning (learning.py) are
all claims in this sense; they differ in the words that their verdicts have.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from vlmscale.errors import UserError

INTERVAL = (0.025, 0.975)  # quantiles of every 95 % interval
SURE = 0.95  # share of draws that decides, as in every interval

Subject = TypeVar("Subject")


class Verdict(Enum):
    """The verdicts, each in the words for a claim of the paper and for a hypothesis of a study."""

    HOLDS = ("reproduced", "supported")
    OPEN = ("within interval", "undecided")
    FAILS = ("not reproduced", "contradicted")
    UNTESTED = ("needs training", "not tested")

    @property
    def on_paper(self) -> str:
        """The verdict in words for a claim of the paper."""
        return self.value[0]

    @property
    def on_hypothesis(self) -> str:
        """The verdict in words for a hypothesis."""
        return self.value[1]


@dataclass(frozen=True)
class Finding:
    """The number that decides a claim; a missing value says that nothing could be computed."""

    value: float = np.nan
    low: float = np.nan  # 95 % interval
    high: float = np.nan
    over: str = ""  # what was resampled for the interval
    note: str = ""  # how the number was found, and what else belongs to it
    reference: float = np.nan  # what the value is compared with, where that is not fixed
    share: float = np.nan  # of draws in which the value is above 0


@dataclass(frozen=True)
class Rule:
    """How a number becomes a verdict, in words and in code."""

    text: str
    judge: Callable[[Finding], Verdict]

    def __call__(self, finding: Finding) -> Verdict:
        return Verdict.UNTESTED if np.isnan(finding.value) else self.judge(finding)


@dataclass(frozen=True)
class Claim(Generic[Subject]):
    """A statement about a subject (a law, a study, the released numbers) and how it is decided."""

    id: str
    text: str
    rule: Rule
    decide: Callable[[Subject], Finding]

    def check(self, subject: Subject, /, **about: Any) -> dict[str, Any]:
        """Decide the claim on `subject`: a row for tabulate_claims, with the columns `about`."""
        return self._row(self.decide(subject), about)

    def skip(self, why: str, **about: Any) -> dict[str, Any]:
        """Leave the claim untested: a row for tabulate_claims with the reason as its note."""
        return self._row(Finding(note=why), about)

    def _row(self, finding: Finding, about: Mapping[str, Any]) -> dict[str, Any]:
        row = {"id": self.id, "text": self.text, "rule": self.rule.text, **about}
        return {**row, **vars(finding), "verdict": self.rule(finding)}


def tabulate_claims(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], **convert: Callable[[Any], Any]
) -> pd.DataFrame:
    """Build the table of checked claims: `columns` names each column and the key of its rows.

    convert: key -> function applied to its value.
    """
    table = [
        {name: convert.get(key, _as_it_is)(row[key]) for name, key in columns.items()}
        for row in rows
    ]
    return pd.DataFrame(table, columns=list(columns))


def _as_it_is(value: Any) -> Any:
    return value


def require_columns(name: str, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise UserError unless `table`, called `name`, has the columns."""
    for column in columns:
        if column not in table:
            raise UserError(f"table {name}: column {column!r} is missing; make the table again")


# Rules


def lies_within(low: float, high: float) -> Rule:
    """Hold inside [low, high], stay open where only the interval reaches that range."""

    def judge(found: Finding) -> Verdict:
        if low <= found.value <= high:
            return Verdict.HOLDS
        return Verdict.OPEN if found.low <= high and found.high >= low else Verdict.FAILS

    return Rule(f"within {low:g} and {high:g}", judge)


def is_above_zero(what: str) -> Rule:
    """Decide by the side of 0 on which the whole interval lies."""
    return Rule(
        f"{what}: supported if the 95 % interval is above 0, contradicted if it is below 0",
        lambda found: _side(found.low > 0, found.high < 0),
    )


def is_below_zero(what: str) -> Rule:
    """Decide as is_above_zero does, for the other side."""
    return Rule(
        f"{what}: supported if the 95 % interval is below 0, contradicted if it is above 0",
        lambda found: _side(found.high < 0, found.low > 0),
    )


def is_surely_above_zero(what: str) -> Rule:
    """Decide by the share of draws above 0."""
    return Rule(
        f"{what}: supported if above 0 in at least {100 * SURE:.0f} % of draws, contradicted if in at "
        f"most {100 * (1 - SURE):.0f} %",
        lambda found: _side(found.share >= SURE, found.share <= 1 - SURE),
    )


def has_sign(what: str) -> Rule:
    """Decide by the value alone, which is of a kind that has no interval."""
    return Rule(
        f"{what}: supported if above 0, contradicted if below",
        lambda found: _side(found.value > 0, found.value < 0),
    )


def is_at_most(limit: float, what: str) -> Rule:
    """Hold up to `limit`, fail where the whole interval is above it."""
    return Rule(
        f"{what}: supported if at most {limit:g}, contradicted if the lower end of the 95 % interval is "
        "above",
        lambda found: _side(found.value <= limit, found.low > limit),
    )


def is_equivalent(margin: float, what: str) -> Rule:
    """Hold where the whole interval lies within `margin` of 0, fail where it lies outside."""
    return Rule(
        f"{what}: supported if the 95 % interval lies within -{margin:g} and {margin:g}, contradicted if "
        "it lies wholly outside",
        lambda found: _side(
            found.low >= -margin and found.high <= margin,
            found.low > margin or found.high < -margin,
        ),
    )


ABOVE_REFERENCE = Rule(
    "above the reference",
    lambda found: _side(found.value > found.reference, found.value <= found.reference),
)
BELOW_REFERENCE = Rule(
    "below the reference",
    lambda found: _side(found.value < found.reference, found.value >= found.reference),
)


def exceeds_by_at_most(allowed: float) -> Rule:
    """Hold where the value is below the reference or exceeds it by at most `allowed`."""
    return Rule(
        f"at most {allowed:g} above the reference",
        lambda found: _side(found.value - found.reference <= allowed, True),
    )


def _side(holds: bool, fails: bool) -> Verdict:
    if holds:
        return Verdict.HOLDS
    return Verdict.FAILS if fails else Verdict.OPEN
