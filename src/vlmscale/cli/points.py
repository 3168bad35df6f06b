"""Read tables of users: points to fit, and any CSV or Parquet file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vlmscale.analysis.collect import require_one_protocol
from vlmscale.analysis.laws.points import check_points
from vlmscale.errors import UserError
from vlmscale.study.selection import FULL

Source = pd.DataFrame | str | Path  # a table, or the CSV or Parquet file that holds it


def name_source(source: Source) -> str:
    """Return what messages call a table: its file, where it has one."""
    return "the table" if isinstance(source, pd.DataFrame) else str(source)


def read_table(source: Source) -> pd.DataFrame:
    """Return the rows of a table. Raises UserError unless there are any."""
    table = source if isinstance(source, pd.DataFrame) else _read_file(Path(source))
    if table.empty:
        raise UserError(f"{name_source(source)} has no rows")
    return table


def _read_file(path: Path) -> pd.DataFrame:
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: its name must end in .csv or .parquet, which says what it is")
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # pandas and pyarrow raise subclasses of ValueError
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {reason}") from None


def read_points(source: Source, methods: Sequence[str] = ()) -> dict[str, pd.DataFrame]:
    """Return the points that a law can be fitted to, by family ("" without that column).

    Columns n_params_b, visual_tokens and score or error; optional llm, method, seed, family. From a
    study's errors.parquet: family means at the full training budget, without held-out LLMs. methods:
    those to keep, by default all. Raises UserError for points that cannot be fitted.
    """
    table, path = read_table(source), name_source(source)
    for column, kept in (("benchmark", "mean"), ("role", "fit"), ("budget", FULL)):
        if column in table:
            table = table[table[column] == kept]
            if table.empty:
                raise UserError(f"{path}: no row has {column} {kept!r}, the only ones fitted")
    if methods:
        known = sorted(table["method"].astype(str).unique()) if "method" in table else []
        for method in methods:
            if method not in known:
                raise UserError(
                    f"{path}: no points of method {method!r}. "
                    f"There are: {', '.join(known) or 'none, as it has no column method'}."
                )
        table = table[table["method"].isin(methods)]
    table = _with_errors(table, path)
    families = {"": table}
    if "family" in table:
        if table["family"].isna().any():
            raise UserError(f"{path}: column 'family' has missing values; fill them or remove it")
        families = {
            str(family): table[table["family"] == family] for family in table["family"].unique()
        }
    for family, points in families.items():
        require_one_protocol(points)
        check_points(points, where=f"{path}, {family}" if family else path)
    return families


def size_axis(points: pd.DataFrame) -> str:
    """Say what N counts in these points, as far as they tell."""
    given = "N is column n_params_b as given, in billions"
    if "size_axis" not in points:
        return given
    return f"{given} (size axis: {', '.join(map(str, points['size_axis'].unique()))})"


def _with_errors(table: pd.DataFrame, path: str) -> pd.DataFrame:
    given = [column for column in ("score", "error") if column in table]
    if not given:
        raise UserError(
            f"{path}: column 'score' or 'error' is missing; needed are n_params_b, visual_tokens and "
            "one of them"
        )
    for column in given:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise UserError(f"{path}: column {column!r} must hold numbers")
        if table[column].isna().any():
            raise UserError(f"{path}: column {column!r} has missing values; drop those rows first")
        if not table[column].between(0, 1).all():
            raise UserError(f"{path}: {column}s must lie in [0, 1]; divide percentages by 100")
    if "score" not in table:
        return table
    errors = 1 - table["score"]
    if "error" in table and not np.allclose(table["error"], errors, rtol=0, atol=1e-6):
        raise UserError(f"{path}: columns 'score' and 'error' differ: error must be 1 - score")
    return table.assign(error=errors)
