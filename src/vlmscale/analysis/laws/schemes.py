"""The ways to draw laws for intervals: a posterior, where the printed ones are from, and bootstraps."""

from collections.abc import Iterable
from typing import Literal, get_args

import pandas as pd

from vlmscale.analysis.laws.bootstrap import PARAMETERS, Resampling, bootstrap
from vlmscale.analysis.laws.hierarchical import LEAST_POINTS, sample_laws
from vlmscale.analysis.laws.power_law import PowerLaw

Scheme = Literal["hierarchical", Resampling]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
# The first that a law has is the scheme of its printed intervals. The others are for few points, and for
# tables made before there was a posterior.
_MAIN: tuple[Scheme, ...] = ("hierarchical", "sizes", "cases")


def list_schemes(points: pd.DataFrame) -> list[Scheme]:
    """Return the schemes that `points` allow, the main one first."""
    schemes: list[Scheme] = ["hierarchical"] if len(points) >= LEAST_POINTS else []
    schemes.append("cases")
    if len(points) > PARAMETERS:
        schemes += ["residual", "wild"]
    if points["n_params_b"].nunique() > 2:
        schemes.append("sizes")
    if "seed" in points and points["seed"].nunique() > 1:
        schemes.append("seeds")
    return schemes


def find_main_scheme(schemes: Iterable[str]) -> Scheme:
    """Return the one among the schemes of a law that its printed intervals are from."""
    found = set(schemes)
    return next((scheme for scheme in _MAIN if scheme in found), _MAIN[-1])


def choose_scheme(points: pd.DataFrame) -> Scheme:
    """Return the main scheme of a law of `points`."""
    return find_main_scheme(list_schemes(points))


def draw_laws(
    points: pd.DataFrame, law: PowerLaw, scheme: Scheme, *, draws: int, seed: int
) -> pd.DataFrame:
    """Draw laws by a scheme, with the columns of sample_laws or of bootstrap; a fixed D stays fixed.

    law: fitted on `points`.
    """
    if scheme == "hierarchical":
        floor = law.floor if law.floor_bound == "fixed" else None
        return sample_laws(points, draws=draws, seed=seed, floor=floor)
    return bootstrap(points, law, scheme, draws=draws, seed=seed)
