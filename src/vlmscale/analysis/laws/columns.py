"""Columns of a user's table: numbers in whatever form, sizes of LLMs, heads and labels."""

import re
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.errors import UserError

_UNITS = {"m": 1e-3, "b": 1.0, "t": 1e3}  # in billions, by the unit's first letter
# A size in a name: 7b in vicuna-7b-v1.5 and llava_7b, but not 8b in 1_8b, which means 1.8. A mixture of
# experts (8x7B, 30B-A3B) does not state one, and thousands in a name are tokens of context (128k).
_SIZE = re.compile(
    r"(?:^|[-\s/:(]|(?<!\d)_)(\d+(?:\.\d+)?)\s?([MBT]|millions?|billions?|trillions?)(?![a-z0-9])",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s?k\s*", re.IGNORECASE)
_MIXTURE = re.compile(r"\dx\d|\bA\d+(?:\.\d+)?B", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE | re.ASCII)
_MOST_BILLIONS = 5_000.0  # no LLM has more
_LEAST_PARAMETERS = 1e5  # from here on a number counts parameters, not billions
# How far N may lie from the size in an LLM's name: names round, and some count no embeddings.
_SIZE_RATIO = 3.0
_TOTALS = ("all", "average", "avg", "mean", "median", "std", "sum", "total")
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

    Examples: 7, 7B, 0.5 billion, 500M, 7e9 and 0.5e9 (parameters), Qwen1.5-14B, llava_7b.
    """
    if _NUMBER.fullmatch(text):
        value = float(text)
        return value / 1e9 if value >= _LEAST_PARAMETERS else value
    if thousands := _THOUSANDS.fullmatch(text):
        return float(thousands[1]) / 1e6
    found = {float(n) * _UNITS[unit[0].lower()] for n, unit in _SIZE.findall(text)}
    return found.pop() if len(found) == 1 and not _MIXTURE.search(text) else None


def to_numbers(values: "pd.Series[Any]", where: str) -> "pd.Series[float]":
    """Return a column as floats, whatever holds its numbers: text, Decimal, whole numbers; gaps as NaN.

    "45 %" is 0.45. Raises UserError, naming row and value, for what is no number: truth values, dates.
    """

    def convert(row: int, value: Any) -> float:
        if value is None or value is pd.NA or value is pd.NaT:
            return np.nan
        try:
            if isinstance(value, str) and "_" not in value:  # which Python ignores in a number
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


def check_whole(counts: "pd.Series[float]", where: str) -> None:
    """Raise UserError for a column of counts in which one is no whole number, as 1.024 for 1024."""
    broken = counts[counts % 1 > 0]
    if len(broken):
        count, row = broken.iloc[0], broken.index[0] + 1
        raise UserError(
            f"{where}: column {counts.name!r} counts tokens; {count:g} of row {row} is no whole number. "
            "Write thousands without a mark, and remove means"
        )


def rename_heads(table: pd.DataFrame, columns: Sequence[str], where: str) -> pd.DataFrame:
    """Return a table whose heads of `columns` and of labels are written as they are here.

    Raises UserError for heads of `columns` that name another unit, such as "score (%)", and for labels
    (LLM, method, family ...) that are lists or hold control characters.
    """
    names: dict[str, str] = {}
    for head in table.columns:
        plain = re.sub(r"\W+", "_", head.strip().lower()).strip("_")
        if plain in columns and set(head) & set("%‰*/×+="):
            raise UserError(
                f"{where}: the head {head!a:.60} says that the numbers of column {plain!r} are in another "
                "unit. Write them in that of the column (shares from 0 to 1, billions of parameters), and "
                f"call it {plain!r}"
            )
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


def check_complete(table: pd.DataFrame, where: str) -> None:
    """Raise UserError for a label (LLM, method, family ...) that is missing in some row."""
    for column in _LABELS:
        if column in table and table[column].isna().any():
            raise UserError(
                f"{where}: column {column!r} has missing values; fill them or remove it"
            )


def check_labels(table: pd.DataFrame, where: str) -> None:
    """Raise UserError for missing labels, rows of totals, and LLMs that contradict their sizes."""
    check_complete(table, where)
    if "llm" not in table:
        return
    for name, sizes in table.groupby("llm", sort=False)["n_params_b"]:
        if str(name).lower() in _TOTALS:
            raise UserError(f"{where}: {name!r} is no LLM; remove rows of totals and means")
        if sizes.nunique() > 1:
            listed = ", ".join(f"{size:g}" for size in sorted(sizes.unique())[:4])
            raise UserError(
                f"{where}: the LLM {name!r:.60} has several sizes, N = {listed}. Give each its own name in "
                "column 'llm', or remove that column"
            )
        stated, size = parse_size(str(name)), float(sizes.iloc[0])
        if stated and not 1 / _SIZE_RATIO <= size / stated <= _SIZE_RATIO:
            raise UserError(
                f"{where}: the LLM {name!r:.60} has N = {size:g} in column 'n_params_b', which counts "
                f"billions; its name says {stated:g}. Correct one of them"
            )


def read_sizes(values: "pd.Series[Any]", where: str) -> tuple["pd.Series[float]", list[str]]:
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
