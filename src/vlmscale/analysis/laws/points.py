"""The points that a law is fitted on: what they must hold, and their logarithms."""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vlmscale.errors import UserError

Floats = NDArray[np.float64]
Bound = Literal["interior", "lower", "upper"]
COLUMNS = ("n_params_b", "visual_tokens", "error")
MOST_POINTS = 5_000  # more take minutes to fit and gigabytes to resample

_UNITS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}  # in billions
# A size in a name: 7b in vicuna-7b-v1.5. A mixture of experts (8x7B, 30B-A3B) does not state one.
_SIZE = re.compile(r"(?:^|[-\s/:(])(\d+(?:\.\d+)?)([KMBT])(?![a-z0-9])", re.IGNORECASE)
_MIXTURE = re.compile(r"\dx\d|\bA\d+(?:\.\d+)?B", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE | re.ASCII)
_MOST_BILLIONS = 5_000.0  # no LLM has more
_LEAST_PARAMETERS = 1e5  # from here on a number counts parameters, not billions
_MOST_TOKENS = 1e6
# What tells rows apart, or which of them a law is about.
_LABELS = (
    "llm",
    "method",
    "seed",
    "family",
    "benchmark",
    "role",
    "budget",
    "size_axis",
    "protocol",
)


def parse_size(text: str) -> float | None:
    """Return the LLM size that a text states, in billions; None where it states none, or several.

    Examples: 7, 7B, 500M, 7e9 and 0.5e9 (parameters), Qwen1.5-14B, Llama-3.2-1B.
    """
    if _NUMBER.fullmatch(text):
        value = float(text)
        return value / 1e9 if value >= _LEAST_PARAMETERS else value
    found = {float(n) * _UNITS[unit.upper()] for n, unit in _SIZE.findall(text)}
    return found.pop() if len(found) == 1 and not _MIXTURE.search(text) else None


def to_numbers(values: "pd.Series[Any]", where: str) -> "pd.Series[float]":
    """Return a column as floats, whatever holds its numbers: text, Decimal, whole numbers; gaps as NaN.

    "45 %" is 0.45. Raises UserError, naming row and value, for what is no number: truth values, dates.
    """

    def convert(row: int, value: Any) -> float:
        if value is None or value is pd.NA or value is pd.NaT:
            return np.nan
        try:
            if isinstance(value, str):
                text = value.strip()
                return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
            if isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_):
                return float(value)
        except (ValueError, ArithmeticError):
            pass
        raise UserError(
            f"{where}: column {values.name!r} must hold numbers; row {row + 1} has {value!r:.60}"
        )

    if pd.api.types.is_numeric_dtype(values) and values.dtype.kind in "iuf":
        return values.astype(float)
    return pd.Series(
        [convert(i, v) for i, v in enumerate(values)], values.index, float, values.name
    )


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
        raise UserError(
            f"{where}: column {listed} is missing. A law needs n_params_b (billions; or llm, names with a "
            f"size such as Qwen1.5-7B), visual_tokens, and score or error (0 to 1). The table has: "
            f"{_list(table.columns)}. Rename its columns."
        )
    sizes, note = _read_sizes(table["n_params_b"], where)
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
    """Raise UserError where an error is 0, which has no logarithm and no relative size."""
    zero = points[points["error"] == 0]
    if len(zero):
        n, v = zero[list(COLUMNS[:2])].iloc[0]
        raise UserError(
            f"points: the error at N = {n:g}, V = {v:g} is 0, which has no logarithm and no relative size; "
            "fit by plain least squares, or remove the point"
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


def rename_heads(table: pd.DataFrame, columns: Sequence[str], where: str) -> pd.DataFrame:
    """Return a table whose heads of `columns` and of labels are written as they are here.

    Raises UserError for labels (LLM, method, family ...) that are lists or hold control characters.
    """
    names: dict[str, str] = {}
    for head in table.columns:
        plain = re.sub(r"\W+", "_", head.strip().lower()).strip("_")
        if plain in (*columns, *_LABELS):
            if plain in names.values():
                raise UserError(f"{where}: two columns are called {plain!r}; keep one")
            names[head] = plain
    table = table.rename(columns=names)
    for column in _LABELS:
        if column not in table or table[column].dtype.kind in "iufb":
            continue
        if not table[column].map(pd.api.types.is_scalar).all():
            raise UserError(f"{where}: column {column!r} holds lists; needed is one value a row")
        for value in table[column].unique():
            if isinstance(value, str) and not value.isprintable():
                raise UserError(f"{where}: {column} {value!a:.60} holds control characters")
    return table


def _read_sizes(values: "pd.Series[Any]", where: str) -> tuple["pd.Series[float]", list[str]]:
    """Return LLM sizes in billions, and a note where plain numbers counted parameters."""
    names = values.map(lambda value: isinstance(value, str) and not _NUMBER.fullmatch(value))
    stated = values[names.astype(bool)].map(parse_size)
    if stated.isna().any():
        silent = values[stated.index[stated.isna()][0]]
        raise UserError(
            f"{where}: {silent!r:.60} states no LLM size such as 7B, 500M or Qwen1.5-7B; fill the column "
            "'n_params_b' with billions of parameters"
        )
    plain = to_numbers(values.drop(stated.index), where)
    notes = []
    if len(plain) and (plain >= _LEAST_PARAMETERS).all():
        plain = plain / 1e9
        notes.append("its numbers count parameters, here divided by 10^9")
    sizes = pd.concat([stated.astype(float), plain]).reindex(values.index)
    given = sizes[np.isfinite(sizes)]
    if (given > _MOST_BILLIONS).any():
        raise UserError(
            f"{where}: column 'n_params_b' has {given.max():g}; no LLM has so many billions of parameters. "
            "Give all sizes in billions"
        )
    return sizes, notes


def _list(columns: Iterable[Any], most: int = 12) -> str:
    names = [ascii(str(column))[1:-1] for column in columns]
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")
