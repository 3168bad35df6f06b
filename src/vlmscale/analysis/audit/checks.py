"""How a claim is checked: one function for each id, found through `released` and `trained`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlmscale.analysis.audit.evidence import Evidence
from vlmscale.analysis.laws import Floats

PAPER_METHODS = ("tokenpacker", "mlp")  # of the paper's scaling laws


@dataclass(frozen=True)
class Measure:
    """What we find for a claim."""

    value: float
    low: float | None = None
    high: float | None = None
    interval_over: str = ""  # what was resampled for low and high (95 %)
    how: str = ""  # how it was found, and what else belongs to it


Released = Callable[[Evidence], Measure]
# (evidence, errors table of a study) -> None when the study lacks what the claim needs
Trained = Callable[[Evidence, pd.DataFrame], Measure | None]

RELEASED: dict[str, Released] = {}
TRAINED: dict[str, Trained] = {}
PROXIES: dict[str, Callable[[Evidence], str]] = {}  # what released numbers say of such a claim


def released(claim: str) -> Callable[[Released], Released]:
    """The check of a claim that the released numbers decide."""

    def register(check: Released) -> Released:
        RELEASED[claim] = check
        return check

    return register


def trained(claim: str) -> Callable[[Trained], Trained]:
    """The check of a claim that needs a study."""

    def register(check: Trained) -> Trained:
        TRAINED[claim] = check
        return check

    return register


def proxy(claim: str) -> Callable[[Callable[[Evidence], str]], Callable[[Evidence], str]]:
    """What the released numbers hint at for a claim that needs a study."""

    def register(check: Callable[[Evidence], str]) -> Callable[[Evidence], str]:
        PROXIES[claim] = check
        return check

    return register


def over_sizes(value: float, draws: Floats, how: str) -> Measure:
    """A measure whose interval comes from resampled LLM sizes; infinite draws stay infinite."""
    low, high = np.quantile(draws, [0.025, 0.975], method="closest_observation")
    return Measure(float(value), float(low), float(high), "LLM sizes", how)
