"""What further trainings would tell of a law, before their results: expected information, to first order.

Around a law error = m - a + a exp(-alpha n - beta v), a = m - D, as in hierarchical.py, an error is linear
in small changes of the level m, of the falls a alpha and a beta, of the bend 1 / a, and of its LLM's offset
and slope. The exponents are falls times bend: where D is hardly known, the bend is what its error bends by,
so this holds over more of D's range than derivatives by D. If all of these are normal, a training narrows
their covariance by a formula that its result does not enter. It is computed around each of many laws with
the noise, offsets and slopes drawn with it, so that what scores leave open of those is averaged over.

Offsets and slopes are estimated from few LLMs, so a half-width is the standard deviation times Student's
quantile with as many degrees of freedom as LLMs (docs/decisions.md, Planning).
More trainings never widen what is expected.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from vlmscale.analysis.laws.points import COLUMNS, Floats
from vlmscale.errors import UserError

Quantity = Literal["alpha", "beta", "difference", "ratio", "tokens", "error"]
# Variance of a number that is uniform in [0, 1]: the prior of alpha, of beta and of the law's level.
_UNIFORM = 1 / 12
_LAW = 4  # level, both falls and the bend come first in a state; then all offsets, then all slopes
_NODES = 200  # of D, for the prior of the bend
_END = 0.975  # of a 95 % interval


@dataclass(frozen=True)
class Aim:
    """A quantity whose interval is to be narrow."""

    quantity: Quantity
    text_tokens: int = 50  # of the quantity tokens, V*(Q)
    llm: str = ""  # of the quantity error: what a training of this LLM shows
    n_params_b: float = np.nan
    visual_tokens: int = 1
    most: int = 576  # the largest V that V* may be


@dataclass(frozen=True)
class Trainings:
    """Trainings of cells as Information counts them: of find_trainings."""

    rows: Floats  # how their errors change with the state, (b, cells, state)
    llms: frozenset[str]


@dataclass(frozen=True)
class Information:
    """The covariance of the law and of LLMs, around each of b laws; of begin_information, or add."""

    level: Floats  # a, the law's part above D at the centre, (b,)
    alpha: Floats
    beta: Floats
    noise: Floats
    center: tuple[Floats, Floats]  # ln N and ln V at n = v = 0
    llms: tuple[str, ...]
    trained: frozenset[str]  # LLMs with a training
    covariance: Floats  # (b, state, state)

    def find_trainings(self, cells: pd.DataFrame) -> Trainings:
        """Return trainings of `cells` (llm, n_params_b, visual_tokens), one a row.

        Raises UserError for an LLM that begin_information did not get, whose offset it lacks.
        """
        return Trainings(self._find_rows(cells), frozenset(map(str, cells["llm"])))

    def add(self, cells: pd.DataFrame | Trainings) -> "Information":
        """Return what is known after trainings of `cells`, as of find_trainings."""
        trainings = cells if isinstance(cells, Trainings) else self.find_trainings(cells)
        if not trainings.rows.shape[1]:
            return self
        crossed, shown = self._predict(trainings)
        less = crossed.transpose(0, 2, 1) @ np.linalg.solve(shown, crossed)
        changed = {"covariance": self.covariance - less, "trained": self.trained | trainings.llms}
        return Information(**{**vars(self), **changed})

    def find_reach(self, aim: Aim, cells: pd.DataFrame | Trainings | None = None) -> Floats:
        """Return half the width (b,) of an aim's 95 % interval, after trainings of `cells` if given.

        It is in units of find_scale, which no training changes.
        """
        if isinstance(cells, pd.DataFrame):
            cells = self.find_trainings(cells)
        return self.measure_reach(aim, self.find_direction(aim), cells)

    def measure_reach(
        self, aim: Aim, direction: Floats, trainings: Trainings | None = None
    ) -> Floats:
        """Return find_reach of an aim whose direction is at hand: of find_direction."""
        found = np.einsum("bi,bij,bj->b", direction, self.covariance, direction)
        if trainings is not None:
            crossed, shown = self._predict(trainings)
            seen = np.einsum("bci,bi->bc", crossed, direction)[:, :, None]
            found = found - (seen * np.linalg.solve(shown, seen)).sum((1, 2))
        llms = len(self.trained if trainings is None else self.trained | trainings.llms)
        variance = found + (self.noise**2 if aim.quantity == "error" else 0)
        return np.asarray(np.sqrt(variance) * stdtrit(max(llms, 1), _END))

    def find_scale(self, aim: Aim) -> Floats:
        """Return the unit (b,) of find_reach; infinite where V* and alpha / beta have no bound."""
        one = np.ones_like(self.level)
        if aim.quantity not in ("ratio", "tokens"):
            return one
        with np.errstate(divide="ignore", invalid="ignore"):
            of_ratio = one / (self.level * self.beta) ** 2
            ratio = self.alpha / self.beta
            if aim.quantity == "ratio":
                return of_ratio
            return np.where(ratio > 1, of_ratio * aim.text_tokens / (ratio - 1) ** 2, np.inf)

    def expect_width(self, aim: Aim) -> float:
        """Return the width of a 95 % interval, the median over the laws."""
        width = 2 * self.find_reach(aim) * self.find_scale(aim)
        most = aim.most - 1.0 if aim.quantity == "tokens" else np.inf
        return float(np.median(np.minimum(width, most)))

    def _predict(self, trainings: Trainings) -> tuple[Floats, Floats]:
        """Return covariances of the errors of trainings with the state, and with each other."""
        crossed = trainings.rows @ self.covariance
        noise = (self.noise**2)[:, None, None] * np.eye(trainings.rows.shape[1])
        return crossed, crossed @ trainings.rows.transpose(0, 2, 1) + noise

    def _find_rows(self, cells: pd.DataFrame) -> Floats:
        """Return how the errors of cells change with the state, (b, cells, state)."""
        names = cells["llm"].astype(str)
        if not names.isin(self.llms).all():
            unknown = names[~names.isin(self.llms)].iloc[0]
            raise UserError(f"LLM {unknown} is not among the known ones: {', '.join(self.llms)}")
        n, v = (
            np.log(cells[name].to_numpy(float)) - center[:, None]
            for name, center in zip(COLUMNS[:2], self.center, strict=True)
        )
        z = self.alpha[:, None] * n + self.beta[:, None] * v
        x = np.exp(-z)
        of_bend = self.level[:, None] ** 2 * (1 - x * (1 + z))
        own = np.equal.outer(names.to_numpy(), np.array(self.llms)).astype(float)
        own = np.broadcast_to(own, (len(x), *own.shape))
        law = np.stack([np.ones_like(x), -x * n, -x * v, of_bend], -1)
        return np.concatenate([law, own, own * v[:, :, None]], -1)

    def find_direction(self, aim: Aim) -> Floats:
        """Return how an aim changes with the state, (b, state)."""
        if aim.quantity == "error":
            cell = {
                "llm": aim.llm,
                "n_params_b": aim.n_params_b,
                "visual_tokens": aim.visual_tokens,
            }
            return self._find_rows(pd.DataFrame([cell]))[:, 0]
        fall_n, fall_v, none = self.level * self.alpha, self.level * self.beta, 0 * self.level
        bend = 1 / self.level
        of_law = {
            "alpha": (none, bend, none, fall_n),
            "beta": (none, none, bend, fall_v),
            "difference": (none, bend, -bend, fall_n - fall_v),
            "ratio": (none, fall_v, -fall_n, none),
        }["ratio" if aim.quantity == "tokens" else aim.quantity]
        direction = np.zeros(self.covariance.shape[:2])
        direction[:, :_LAW] = np.stack(of_law, -1)
        return direction


def begin_information(
    laws: pd.DataFrame, llms: Iterable[str], smallest_error: float
) -> Information:
    """Return what the priors of the hierarchical model tell before any training.

    laws: of sample_laws; llms: names of all LLMs that may be trained or asked for. smallest_error: the
    upper bound of D.
    """
    columns = ("alpha", "beta", "floor", "noise", "offset", "slope", "center", "center_b")
    alpha, beta, floor, noise, offset, slope, center, center_b = (
        laws[name].to_numpy(float) for name in columns
    )
    log_n, log_v = np.log(center_b), np.log(center)
    level = laws["amplitude"].to_numpy(float) * np.exp(-alpha * log_n - beta * log_v)
    whole = level + floor
    # Mean square of the bend about the law's: D is 0 with probability one half, else uniform.
    share = (np.arange(_NODES) + 0.5) / _NODES
    floors = share * np.minimum(smallest_error, (1 - 1e-3) * whole)[:, None]
    bends = 1 / (whole[:, None] - floors) - 1 / level[:, None]
    of_bend = 0.5 * (1 / whole - 1 / level) ** 2 + 0.5 * (bends**2).mean(1)
    names = tuple(dict.fromkeys(map(str, llms)))
    of_fall = level**2 * _UNIFORM
    variances = [np.full_like(level, _UNIFORM), of_fall, of_fall, of_bend]
    variances += [offset**2] * len(names) + [slope**2] * len(names)
    covariance = np.stack(variances, -1)[:, :, None] * np.eye(len(variances))
    return Information(level, alpha, beta, noise, (log_n, log_v), names, frozenset(), covariance)


def center_laws(laws: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return laws with the same level, falls and noise at the centre of other cells.

    So a law of one grid is the prior of another, whose LLMs may be far smaller or larger.
    """
    center_b, center = (float(np.exp(np.log(cells[name]).mean())) for name in COLUMNS[:2])
    level = laws["amplitude"] * laws["center_b"] ** -laws["alpha"] * laws["center"] ** -laws["beta"]
    amplitude = level * center_b ** laws["alpha"] * center ** laws["beta"]
    return laws.assign(amplitude=amplitude, center=center, center_b=center_b)
