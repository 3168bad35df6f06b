"""Numbers with what is known of them: draws, or a standard error of few units.

Their p-values are two-sided: at most 0.05 where the 95 % interval leaves a bound out.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from vlmscale.analysis.checks.engine import INTERVAL
from vlmscale.analysis.laws.points import Floats

SURE = 0.05  # the p-value that decides, after Holm's correction


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval and the p-values of a hypothesis about it; NaN where there are none."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p_for: float = np.nan  # small where the number is surely as the hypothesis says
    p_against: float = np.nan  # small where it is surely not
    note: str = ""

    def explain(self, note: str) -> "Estimate":
        return replace(self, note=note)


def estimate_from_draws(value: float, draws: Floats, *, above: float = 0.0) -> Estimate:
    """Judge by draws whether a number is above a bound; p is at least 2 / (draws + 1)."""
    low, high = np.quantile(draws, INTERVAL)
    below, over = (
        min(1.0, 2 * (1 + int(count.sum())) / (1 + len(draws)))
        for count in (draws <= above, draws >= above)
    )
    return Estimate(value, float(low), float(high), below, over)


def estimate_from_units(
    value: float, variance: float, units: int, *, margin: float = 0.0
) -> Estimate:
    """Judge by Student's t whether a number is above 0, or with a `margin` whether it is within it of 0.

    variance: of `value`. units: the independent ones that it is estimated from; with one it is unknown, and
    so are interval and p-values.
    """
    if units < 2 or np.isnan(variance):
        return Estimate(value)
    df, error = units - 1, max(float(np.sqrt(variance)), 1e-12)
    reach = error * float(stdtrit(df, INTERVAL[1]))
    # Of the hypotheses that the number is not above (below) a bound.
    above, below = (
        [
            min(1.0, 2 * float(stdtr(df, -side * (value - bound) / error)))
            for bound in (-margin, margin)
        ]
        for side in (1, -1)
    )
    if margin:
        p_for, p_against = max(above[0], below[1]), min(above[1], below[0])
    else:
        p_for, p_against = above[0], below[0]
    return Estimate(value, value - reach, value + reach, p_for, p_against)


def join(one: Estimate, other: Estimate) -> Estimate:
    """Return the first of two estimates, as sure as the less sure of both."""
    return replace(
        one, p_for=max(one.p_for, other.p_for), p_against=max(one.p_against, other.p_against)
    )


def reverse(found: Estimate) -> Estimate:
    """Return the estimate for the opposite hypothesis."""
    return replace(found, p_for=found.p_against, p_against=found.p_for)


def variance_of_mean(values: pd.Series) -> float:
    """Return the squared standard error of a mean; NaN of one value."""
    return float(values.var(ddof=1) / len(values))
