"""The points that a law is fitted on: what they must hold, and their logarithms."""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vlmscale.errors import UserError

Floats = NDArray[np.float64]
Bound = Literal["interior", "lower", "upper"]
COLUMNS = ("n_params_b", "visual_tokens", "error")


def check_points(points: pd.DataFrame, *, where: str = "points") -> None:
    """Raise UserError unless a law can be fitted on `points`.

    Checked are the columns n_params_b (N in billions), visual_tokens (V) and error (in [0, 1]), that N and
    V take more than one value, and that rows of the same N and V differ in llm, method, seed or budget.
    where: the name of the table in messages.
    """
    values = {}
    lacking = [column for column in COLUMNS if column not in points]
    if lacking:
        listed = ", ".join(map(repr, lacking))
        are = "columns {} are" if len(lacking) > 1 else "column {} is"
        raise UserError(
            f"{where}: {are.format(listed)} missing; a law needs {', '.join(COLUMNS)} (1 - score)"
        )
    for column in COLUMNS:
        try:
            values[column] = points[column].to_numpy(float, na_value=np.nan)
        except (TypeError, ValueError):
            raise UserError(f"{where}: column {column!r} must hold numbers") from None
        if not np.isfinite(values[column]).all():
            raise UserError(
                f"{where}: column {column!r} has missing or infinite values; drop those rows first"
            )
    if ((values["error"] < 0) | (values["error"] > 1)).any():
        raise UserError(
            f"{where}: errors must lie in [0, 1]; a score is not an error: use 1 - score"
        )
    for column in COLUMNS[:2]:
        if (values[column] <= 0).any():
            raise UserError(f"{where}: column {column!r} must be positive")
        if (values[column] == values[column][:1]).all():
            raise UserError(
                f"{where}: all rows have the same {column}; its exponent needs at least two values"
            )
    if len(points) < 4:
        raise UserError(f"{where}: {len(points)} rows are too few for a law with four parameters")
    keys = [*COLUMNS[:2], *(c for c in ("llm", "method", "seed", "budget") if c in points)]
    twice = points[points.duplicated(keys)]
    if len(twice):
        n, v = twice[list(COLUMNS[:2])].iloc[0]
        raise UserError(
            f"{where}: two rows for N = {n:g}, V = {v:g}; repeats need a column 'seed' that tells them "
            "apart, else remove one"
        )


def take_logs(points: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Return ln N, ln V and the error of `points`, each (n,)."""
    log_n, log_v = (np.log(points[column].to_numpy(float)) for column in COLUMNS[:2])
    return log_n, log_v, points["error"].to_numpy(float)
