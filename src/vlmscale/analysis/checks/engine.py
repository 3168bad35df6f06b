"""How a claim is decided: a number is found, and where it lies makes the verdict.

The paper's claims (audit/) and a study's hypotheses (hypotheses/) differ in the words of their verdicts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd

from vlmscale.errors import UserError

INTERVAL = (0.025, 0.975)  # quantiles of every 95 % interval


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
    over: str = ""  # the scheme of the interval, or what was resampled for it
    note: str = ""  # how the number was found, and what else belongs to it


def judge(found: Finding, low: float, high: float) -> Verdict:
    """Hold inside [low, high], stay open where only the interval reaches that range."""
    if np.isnan(found.value):
        return Verdict.UNTESTED
    if low <= found.value <= high:
        return Verdict.HOLDS
    return Verdict.OPEN if found.low <= high and found.high >= low else Verdict.FAILS


def require_columns(
    tables: Mapping[str, pd.DataFrame], needed: Mapping[str, Iterable[str]]
) -> None:
    """Raise UserError unless each table has its needed columns."""
    for name, columns in needed.items():
        for column in columns:
            if column not in tables[name]:
                raise UserError(f"table {name}: column {column!r} is missing; make the table again")
