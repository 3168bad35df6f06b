"""Choose the trainings that narrow an interval most for each GPU hour, before their results."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.hierarchical import LEAST_POINTS, draw_measurements, sample_laws
from vlmscale.analysis.laws.information import Aim, Information, begin_information, center_laws
from vlmscale.analysis.laws.intervals import find_ends, find_intervals, find_token_ends
from vlmscale.analysis.laws.points import COLUMNS, Floats
from vlmscale.errors import UserError

_DRAWS = 2000
_TINY = 1e-300  # against a division by 0
_LAWS = 64  # that information is averaged over


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
    """Choose trainings one by one, each the best for its hours, until no other is within `hours`.

    candidates: a row a cell, columns run, llm, n_params_b, visual_tokens, seed, hours; cells of a run come
    together, for its hours, which may be 0. Returns rows in order: run, llm, n_params_b, visual_tokens
    (several as "1, 4"), seed, cells, hours, hours_total, remaining (the expected width as a share of that
    at the start) and width, which is NaN until the cells determine a law.
    """
    information, whole = start.information, start.information.find_reach(aim)
    left = {str(run): rows for run, rows in candidates.groupby("run", sort=False)}
    trained = [start.points[list(COLUMNS[:2])]]
    chosen, spent, remaining = [], 0.0, 1.0
    while True:
        best: tuple[float, str, float] | None = None
        tried: set[tuple[object, ...]] = set()
        for run, rows in left.items():
            cost = float(rows["hours"].iloc[0])
            alike = (cost, *rows["llm"], *rows["visual_tokens"])  # seeds of a cell tell the same
            if alike in tried or spent + cost > hours + 1e-9:
                continue
            tried.add(alike)
            after = _average(information.find_reach(aim, rows), whole)
            gain = max(remaining - after, 0.0)
            rate = gain / cost if cost > 0 else np.inf
            if best is None or rate > best[0]:
                best = rate, run, after
        if best is None:
            break
        _, run, remaining = best
        rows = left.pop(run)
        information = information.add(rows)
        trained.append(rows[list(COLUMNS[:2])])
        spent += float(rows["hours"].iloc[0])
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
                "hours": float(first["hours"]),
                "hours_total": spent,
                "remaining": remaining,
                "width": width if determines_law(pd.concat(trained)) else np.nan,
            }
        )
    columns = ["run", "llm", "n_params_b", "visual_tokens", "seed", "cells", "hours"]
    return pd.DataFrame(chosen, columns=[*columns, "hours_total", "remaining", "width"])


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
