"""How a law depends on the benchmarks in its average, and on chance."""

from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.analysis.laws.tables import tabulate_each
from vlmscale.errors import UserError
from vlmscale.study.selection import Series

_CELL = ["cell", "llm", "method", "visual_tokens", "seed", "budget", "n_params_b"]
_LAW = ["alpha", "beta", "ratio", "floor", "floor_bound", "sse"]
_COLUMNS = ["series", "family", "without", *_LAW, "points", "note"]


def leave_one_out(errors: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Fit the law of each series and family without each benchmark in turn.

    errors: of tabulate_errors, or of correct_for_chance. One row a suite: series, family, without (the
    benchmark, "" for the full suite), alpha, beta, ratio, floor, floor_bound, sse, points, note. The error
    is the plain mean of the benchmarks that remain. A suite without a law has missing values and the
    reason in `note`, which is empty otherwise.
    """

    def refit(cells: pd.DataFrame, _: object) -> pd.DataFrame:
        suite = cells.pivot(index=_CELL, columns="benchmark", values="error")
        rows = []
        for without in ["", *cells["benchmark"].unique()]:
            rest = suite.drop(columns=without, errors="ignore")
            rows.append({"without": without, "points": len(rest), **_law(rest)})
        return pd.DataFrame(rows)

    table = tabulate_each(errors[errors["benchmark"] != "mean"], series, refit)
    # text even where no law of the table exists
    return table.reindex(columns=_COLUMNS).astype({"floor_bound": "str"})


def correct_for_chance(errors: pd.DataFrame, chance: pd.DataFrame) -> pd.DataFrame:
    """Rescale an errors table so that chance is 1 and perfect is 0, and average families again.

    chance: of tabulate_chance. A cell below chance has an error above 1 (and a score below 0), which
    stays: clipping would bias means. No law is fitted to errors above 1.
    """
    mean = errors["benchmark"] == "mean"
    level = errors["benchmark"].map(chance.set_index("benchmark")["chance"])
    for wrong, why in ((level.isna(), "is unknown"), (level >= 1, "is 1, which leaves no error")):
        if (wrong & ~mean).any():
            benchmark = errors.loc[wrong & ~mean, "benchmark"].iloc[0]
            raise UserError(
                f"table chance: that of benchmark {benchmark} {why}; leave the benchmark out"
            )
    error = (errors["error"] / (1 - level)).mask(mean)
    means = error.groupby([errors["cell"], errors["family"]]).transform("mean")
    error = error.where(~mean, means)
    return errors.assign(score=1 - error, error=error)


def _law(suite: pd.DataFrame) -> dict[str, Any]:
    """Fit the law of cells (rows) averaged over benchmarks (columns), or say why there is none."""
    try:
        if suite.shape[1] == 0:
            raise UserError("no benchmark is left")
        lacking = suite.columns[suite.isna().any()]
        if len(lacking):
            raise UserError(f"not every cell has benchmark {lacking[0]}")
        law = fit_power_law(suite.mean(axis=1).rename("error").reset_index())
    except UserError as error:
        return {**dict.fromkeys(_LAW, np.nan), "floor_bound": None, "note": str(error)}
    return {**{column: getattr(law, column) for column in _LAW}, "note": ""}
