"""Findings whose interval comes from draws: refits of a law, or resampled answers."""

from collections.abc import Callable

import numpy as np

from vlmscale.analysis.checks.engine import INTERVAL, Finding
from vlmscale.analysis.laws.answers import Scores
from vlmscale.analysis.laws.points import Floats


def build_finding(value: float, draws: Floats, over: str, note: str) -> Finding:
    """Return a finding with the 95 % interval of `draws`; infinite draws stay infinite."""
    low, high = np.quantile(draws, INTERVAL, method="closest_observation")
    return Finding(float(value), float(low), float(high), over, note)


def summarize_scores(scores: Scores, number: Callable[[Floats], Floats], note: str) -> Finding:
    """Return number(scores), of (..., g, b), with its interval over questions and seeds."""
    over = "questions" + (f" and {scores.seeds} seeds" if scores.seeds > 1 else "")
    return build_finding(float(number(scores.measured)), number(scores.drawn), over, note)
