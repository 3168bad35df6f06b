"""The laws of a study, as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.bootstrap import SCHEMES, bootstrap, intervals
from vlmscale.analysis.forms import compare_forms
from vlmscale.analysis.laws import PowerLaw, fit_power_law
from vlmscale.errors import UserError


def family_means(errors: pd.DataFrame) -> pd.DataFrame:
    """The rows of an errors table that average a family's benchmarks: what the laws are about."""
    return errors[errors["benchmark"] == "mean"]


def fit_laws(errors: pd.DataFrame, series: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The law of each series (name -> methods) and family, fitted on the cells of role "fit".

    errors: the family means of errors_table, or published numbers in the same columns.
    """
    rows: list[dict[str, Any]] = []
    for name, methods in series.items():
        mine = errors[errors["method"].isin(methods)]
        for family, points in mine.groupby("family", sort=False):
            fitted = points[points["role"] == "fit"]
            try:
                law = fit_power_law(fitted)
            except UserError as error:
                raise UserError(f"law {name}, {family}: {error}") from None
            rows.append({"series": name, "family": family, **law_row(law, fitted)})
    return pd.DataFrame(rows)


def interval_table(
    errors: pd.DataFrame,
    laws: pd.DataFrame,
    series: Mapping[str, Sequence[str]],
    *,
    text_tokens: Sequence[int],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Bootstrap intervals of every law in `laws`, by each scheme (see bootstrap.py).

    Columns series, family, scheme, quantity, low, median, high. errors and series as in fit_laws.
    """
    tables = []
    for record in laws.to_dict("records"):
        row = {str(column): value for column, value in record.items()}
        mine = errors["method"].isin(series[row["series"]]) & (errors["family"] == row["family"])
        points = errors[mine & (errors["role"] == "fit")]
        most = int(points["visual_tokens"].max())
        for scheme in SCHEMES:
            resampled = bootstrap(points, law_of(row), scheme, draws=draws, seed=seed)
            table = intervals(resampled, text_tokens, most)
            about = {"series": row["series"], "family": row["family"], "scheme": scheme}
            tables.append(table.assign(**about)[[*about, *table]])
    return pd.concat(tables, ignore_index=True)


def forms_table(errors: pd.DataFrame, series: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The law beside its rivals (forms.py) for each series and family; seeds are points of their own."""
    tables = []
    for name, methods in series.items():
        mine = errors[errors["method"].isin(methods) & (errors["role"] == "fit")]
        for family, points in mine.groupby("family", sort=False):
            about = {"series": name, "family": family}
            table = compare_forms(points)
            tables.append(table.assign(**about)[[*about, *table]])
    return pd.concat(tables, ignore_index=True)


def law_row(law: PowerLaw, points: pd.DataFrame) -> dict[str, Any]:
    predicted = law.predict(
        points["n_params_b"].to_numpy(float), points["visual_tokens"].to_numpy(float)
    )
    residual = points["error"].to_numpy(float) - predicted
    return {
        "amplitude": law.amplitude,
        "alpha": law.alpha,
        "beta": law.beta,
        "floor": law.floor,
        "ratio": law.ratio,
        "floor_bound": law.floor_bound,
        "alpha_bound": law.exponent_bounds[0],
        "beta_bound": law.exponent_bounds[1],
        "sse": law.sse,
        "rmse": float(np.sqrt(np.mean(residual**2))),
        "points": law.points,
        "converged": law.converged,
    }


def law_of(row: Mapping[str, Any]) -> PowerLaw:
    """The law in a row of fit_laws."""
    return PowerLaw(
        amplitude=row["amplitude"],
        alpha=row["alpha"],
        beta=row["beta"],
        floor=row["floor"],
        floor_bound=row["floor_bound"],
        exponent_bounds=(row["alpha_bound"], row["beta_bound"]),
        sse=row["sse"],
        points=row["points"],
        converged=row["converged"],
    )
