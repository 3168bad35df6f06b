"""Choose the trainings that narrow an interval most within some GPU hours, before their results.

The best set is a knapsack whose items tell of each other. Trainings are added one by one, for what they
tell in each hour and, in another try, for what they tell at all. Of the better set each training is then
exchanged for others while that narrows the interval. First in order is what tells most in each hour, in
case the hours end early.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.hierarchical import LEAST_POINTS, draw_measurements, sample_laws
from vlmscale.analysis.laws.information import (
    Aim,
    Information,
    Trainings,
    begin_information,
    center_laws,
)
from vlmscale.analysis.laws.intervals import find_ends, find_intervals, find_token_ends
from vlmscale.analysis.laws.points import COLUMNS, Floats
from vlmscale.errors import UserError

_DRAWS = 2000
_TINY = 1e-300  # against a division by 0
_LAWS = 64  # that information is averaged over
_EXCHANGES = 30  # at most; the released scores take up to eight
_SETTLED = 1e-4  # of the remaining share: less is no reason for another exchange


@dataclass(frozen=True)
class Start:
    """What is known before further trainings."""

    information: Information
    width: float | None  # of the aim's present interval; None where present scores have none
    points: pd.DataFrame  # present scores

    @property
    def from_prior(self) -> bool:
        """Whether present scores determine no law, so that another one stands in."""
        return not determines_law(self.points)


def start_from(points: pd.DataFrame, prior: pd.DataFrame, cells: pd.DataFrame, aim: Aim) -> Start:
    """Return what the scores of a study tell of an aim.

    points: the study's, with columns llm, n_params_b, visual_tokens, error; possibly empty. prior: points
    whose law stands in where those determine none; only its level, exponents and noise are used. cells:
    all that may be trained, columns llm, n_params_b, visual_tokens.
    """
    determined = determines_law(points)
    source = points if determined else prior
    laws = sample_laws(source, draws=_DRAWS, seed=0)
    width = measure_width(laws, aim, points) if determined else None
    if not determined:
        laws = center_laws(laws, cells)
    llms = [*cells["llm"], *points["llm"], *([aim.llm] if aim.quantity == "error" else [])]
    smallest = float(source["error"].min())
    if smallest <= 0:
        raise UserError("an error of 0 leaves D no range; leave that point out")
    begun = begin_information(laws.iloc[:_LAWS], llms, smallest)
    return Start(begun.add(points), width, points)


def measure_width(laws: pd.DataFrame, aim: Aim, points: pd.DataFrame) -> float | None:
    """Return the width of an aim's 95 % interval by drawn laws.

    None where it is unbounded, and for errors of an LLM of `points`, whose offset the laws do not have.
    """
    if aim.quantity == "error":
        if aim.llm in set(points["llm"].astype(str)):
            return None
        cell = pd.DataFrame({"n_params_b": [aim.n_params_b], "visual_tokens": [aim.visual_tokens]})
        low, high = find_ends(draw_measurements(laws, cell, seed=0)[:, 0])
    elif aim.quantity == "tokens":
        ratio = find_intervals(laws)["ratio"]
        low, high = find_token_ends(ratio, aim.text_tokens, aim.most)
    else:
        low, high = find_intervals(laws)[aim.quantity]
    width = float(high - low)
    return width if np.isfinite(width) and width > 0 else None


def choose_cells(start: Start, candidates: pd.DataFrame, aim: Aim, *, hours: float) -> pd.DataFrame:
    """Choose trainings within `hours`, until no other is, the best for its hours first.

    candidates: a row a cell, columns run, llm, n_params_b, visual_tokens, seed, hours; cells of a run come
    together, for its hours, which may be 0. Returns rows in order: run, llm, n_params_b, visual_tokens
    (several as "1, 4"), seed, cells, hours, hours_total, remaining (the expected width as a share of that
    at the start) and width, which is NaN until the cells determine a law.
    """
    runs = {str(run): rows for run, rows in candidates.groupby("run", sort=False)}
    search = _Search(start.information, aim, runs)
    kept = search.exchange(hours)
    information, spent = start.information, 0.0
    trained = [start.points[list(COLUMNS[:2])]]
    chosen = []
    for run, remaining in search.fill([], hours, among=kept):
        rows = runs[run]
        information = information.add(rows)
        trained.append(rows[list(COLUMNS[:2])])
        spent += search.hours[run]
        first = rows.iloc[0]
        width = information.expect_width(aim) if start.width is None else remaining * start.width
        chosen.append(
            {
                "run": run,
                "llm": first["llm"],
                "n_params_b": float(first["n_params_b"]),
                "visual_tokens": ", ".join(map(str, rows["visual_tokens"])),
                "seed": first["seed"],
                "cells": len(rows),
                "hours": search.hours[run],
                "hours_total": spent,
                "remaining": remaining,
                "width": width if determines_law(pd.concat(trained)) else np.nan,
            }
        )
    columns = ["run", "llm", "n_params_b", "visual_tokens", "seed", "cells", "hours"]
    return pd.DataFrame(chosen, columns=[*columns, "hours_total", "remaining", "width"])


class _Search:
    """The search for a set of runs. runs: the cells of each, by name."""

    def __init__(self, start: Information, aim: Aim, runs: Mapping[str, pd.DataFrame]) -> None:
        self._start, self._aim = start, aim
        self._direction = start.find_direction(aim)
        self._whole = start.find_reach(aim)
        self._runs = {run: start.find_trainings(rows) for run, rows in runs.items()}
        self.hours = {run: float(rows["hours"].iloc[0]) for run, rows in runs.items()}
        # Seeds of a cell tell the same.
        self._kinds = {
            run: (self.hours[run], *rows["llm"], *rows["visual_tokens"])
            for run, rows in runs.items()
        }

    def fill(
        self,
        kept: Sequence[str],
        hours: float,
        *,
        among: Iterable[str] | None = None,
        per_hour: bool = True,
    ) -> list[tuple[str, float]]:
        """Add runs to those kept until no other is within the hours left.

        among: the runs that may be added, by default all. Returns what is added, in order, with the
        remaining share of the interval after each. What is added next tells most, in each hour or at all.
        """
        information = self._know(kept)
        left = [run for run in (self._runs if among is None else among) if run not in kept]
        hours -= sum(self.hours[run] for run in kept)
        remaining = self._measure(information)
        added: list[tuple[str, float]] = []
        while True:
            best: tuple[float, str, float] | None = None
            tried = set()
            for run in left:
                cost = self.hours[run]
                if self._kinds[run] in tried or cost > hours + 1e-9:
                    continue
                tried.add(self._kinds[run])
                after = self._measure(information, self._runs[run])
                gain = max(remaining - after, 0.0)
                rate = gain if not per_hour else gain / cost if cost > 0 else np.inf
                if best is None or rate > best[0]:
                    best = rate, run, after
            if best is None:
                return added
            _, run, remaining = best
            left.remove(run)
            information = information.add(self._runs[run])
            hours -= self.hours[run]
            added.append((run, remaining))

    def exchange(self, hours: float) -> list[str]:
        """Return the runs of the best set found."""
        sets = [self._complete([], hours, per_hour) for per_hour in (True, False)]
        remaining, kept = min(sets, key=lambda found: found[0])
        for _ in range(_EXCHANGES):
            out = {self._kinds[run]: run for run in kept}.values()
            moves = [
                self._complete(
                    [other for other in kept if other != run], hours, per_hour, without=run
                )
                for run in out
                for per_hour in (True, False)
            ]
            after, changed = min(moves, key=lambda found: found[0], default=(remaining, kept))
            if after > remaining * (1 - _SETTLED):
                break
            remaining, kept = after, changed
        return kept

    def _complete(
        self, kept: list[str], hours: float, per_hour: bool, without: str | None = None
    ) -> tuple[float, list[str]]:
        """Return the remaining share of the interval, and kept runs with those that fill the hours."""
        among = [
            run for run in self._runs if without is None or self._kinds[run] != self._kinds[without]
        ]
        added = self.fill(kept, hours, among=among, per_hour=per_hour)
        remaining = added[-1][1] if added else self._measure(self._know(kept))
        return remaining, [*kept, *(run for run, _ in added)]

    def _know(self, runs: Sequence[str]) -> Information:
        information = self._start
        for run in runs:
            information = information.add(self._runs[run])
        return information

    def _measure(self, information: Information, trainings: Trainings | None = None) -> float:
        return _average(
            information.measure_reach(self._aim, self._direction, trainings), self._whole
        )


def expect_remaining(start: Start, cells: pd.DataFrame, aim: Aim) -> float:
    """Return the expected width of an aim after trainings of `cells`, as a share of that at the start."""
    before, after = start.information, start.information.add(cells)
    return _average(after.find_reach(aim), before.find_reach(aim))


def _average(reach: Floats, whole: Floats) -> float:
    return float(np.sqrt(np.mean((reach / np.maximum(whole, _TINY)) ** 2)))


def determines_law(cells: pd.DataFrame) -> bool:
    """Return whether cells are enough for the hierarchical model: six, of two LLMs and two V."""
    axes = COLUMNS[:2]
    return len(cells) >= LEAST_POINTS and all(cells[axis].nunique() > 1 for axis in axes)
