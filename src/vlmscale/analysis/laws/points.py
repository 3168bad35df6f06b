"""The points that a law is fitted on: what they must hold, and their logarithms."""

import re
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vlmscale.analysis.laws.columns import (
    check_labels,
    check_whole,
    read_sizes,
    rename_heads,
    to_numbers,
)
from vlmscale.errors import UserError

Floats = NDArray[np.float64]
Bound = Literal["interior", "lower", "upper"]
COLUMNS = ("n_params_b", "visual_tokens", "error")
MOST_POINTS = 5_000  # more take minutes to fit and gigabytes to resample
_MOST_TOKENS = 1e6
_LEAST_ERROR = 1e-9  # less is 0 but for rounding
_COUNT_HEAD = re.compile(r"(?:v|visual[ _]tokens|tokens)?[ =_]*\d+(?: tokens)?", re.IGNORECASE)


def clean_points(table: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Return a user's table with numbers in the columns of a law, and notes on what was taken for them.

    Heads may differ in case, spaces and hyphens. n_params_b: billions, or parameters where all are too
    large for billions; sizes as text (7B, 500M); by default the sizes in the names of column llm. error: by
    default 1 - score. Raises UserError for what is missing, contradictory or no number.
    """
    table, notes = rename_heads(table, (*COLUMNS, "score"), where), []
    if "n_params_b" not in table and "llm" in table:
        table = table.assign(n_params_b=table["llm"])
        notes.append("N is the size in each LLM's name")
    lacking = [column for column in COLUMNS[:2] if column not in table]
    if "score" not in table and "error" not in table:
        lacking.append("score")
    if lacking:
        listed = ", ".join(map(repr, lacking)).replace("'score'", "'score' or 'error'")
        counts = [head for head in table.columns if _COUNT_HEAD.fullmatch(head.strip())]
        cure = "Rename its columns."
        if len(counts) > 1:
            cure = (
                "Make a row of each value in its columns of token counts, with the count in visual_tokens "
                "and the value in score or error."
            )
        raise UserError(
            f"{where}: column {listed} is missing. A law needs n_params_b (billions; or llm, names with a "
            f"size such as Qwen1.5-7B), visual_tokens, and score or error (0 to 1). The table has: "
            f"{_list(table.columns)}. {cure}"
        )
    sizes, note = read_sizes(table["n_params_b"], where)
    notes += note
    given = [column for column in ("visual_tokens", "score", "error") if column in table]
    numbers = {column: to_numbers(table[column], where) for column in given}
    table = table.assign(n_params_b=sizes, **numbers)
    for column in given[1:]:
        if table[column].isna().any():
            raise UserError(f"{where}: column {column!r} has missing values; drop those rows first")
        if not table[column].between(0, 1).all():
            raise UserError(f"{where}: {column}s must lie in [0, 1]; divide percentages by 100")
    if not table["visual_tokens"].dropna().between(1, _MOST_TOKENS).all():
        raise UserError(
            f"{where}: column 'visual_tokens' must be positive, the tokens of an image: 1 to "
            f"{_MOST_TOKENS:,.0f}"
        )
    check_whole(table["visual_tokens"], where)
    check_labels(table, where)
    if "score" in table:
        errors = 1 - table["score"]
        if "error" in table and not np.allclose(table["error"], errors, rtol=0, atol=1e-6):
            raise UserError(f"{where}: columns 'score' and 'error' differ: error must be 1 - score")
        table = table.assign(error=errors)
    return table, notes


def check_points(points: pd.DataFrame, *, where: str = "points") -> None:
    """Raise UserError unless a law can be fitted on `points`.

    Checked are the columns n_params_b (N in billions), visual_tokens (V) and error (in [0, 1]), that N and
    V take more than one value, and that rows of the same N and V differ in llm, method, seed or budget.
    where: the name of the table in messages.
    """
    lacking = [column for column in COLUMNS if column not in points]
    if lacking:
        listed = ", ".join(map(repr, lacking))
        are = "columns {} are" if len(lacking) > 1 else "column {} is"
        raise UserError(
            f"{where}: {are.format(listed)} missing; a law needs {', '.join(COLUMNS)} (1 - score)"
        )
    values = {}
    for column in COLUMNS:
        if points[column].dtype.kind not in "iuf":
            raise UserError(
                f"{where}: column {column!r} must hold numbers, not {points[column].dtype}; convert it "
                "with vlmscale.read_points"
            )
        values[column] = points[column].to_numpy(float, na_value=np.nan)
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
    if not 4 <= len(points) <= MOST_POINTS:
        few = (
            "few for a law with four parameters"
            if len(points) < 4
            else "many; average repeats first"
        )
        raise UserError(f"{where}: {len(points):,} rows are too {few}")
    keys = [*COLUMNS[:2], *(c for c in ("llm", "method", "seed", "budget") if c in points)]
    twice = points[points.duplicated(keys)]
    if len(twice):
        n, v = twice[list(COLUMNS[:2])].iloc[0]
        raise UserError(
            f"{where}: two rows for N = {n:g}, V = {v:g}; repeats need a column 'seed' that tells them "
            "apart, else remove one"
        )


def check_positive(points: pd.DataFrame) -> None:
    """Raise UserError where an error is 0 or nearly so, without a logarithm or relative size of use."""
    zero = points[points["error"] < _LEAST_ERROR]
    if len(zero):
        n, v, error = zero[list(COLUMNS)].iloc[0]
        size = "0" if error == 0 else "nearly 0"
        raise UserError(
            f"points: the error at N = {n:g}, V = {v:g} is {size}, which has no logarithm and no relative "
            "size; fit by plain least squares, or remove the point"
        )


def name_bound(value: float, low: float, high: float) -> Bound:
    """Say which end of [low, high] a value has reached."""
    if value - low <= 1e-9:
        return "lower"
    return "upper" if high - value <= 1e-9 else "interior"


def take_logs(points: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Return ln N, ln V and the error of `points`, each (n,)."""
    log_n, log_v = (np.log(points[column].to_numpy(float)) for column in COLUMNS[:2])
    return log_n, log_v, points["error"].to_numpy(float)


def _list(columns: Iterable[Any], most: int = 12) -> str:
    names = [ascii(str(column))[1:-1] for column in columns]
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")
