"""Tables of the laws of a study: rows for each series (a named choice of cells) and family."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.collect import require_one_protocol, select_cells
from vlmscale.analysis.laws.bootstrap import PARAMETERS, SAMPLE_SCHEMES, bootstrap_samples
from vlmscale.analysis.laws.frontier import pareto_envelope
from vlmscale.analysis.laws.intervals import summarize_draws
from vlmscale.analysis.laws.power_law import PowerLaw, describe_law, fit_power_law, profile_floor
from vlmscale.analysis.laws.schemes import draw_laws, list_schemes
from vlmscale.analysis.laws.standard_errors import delta_method, jackknife
from vlmscale.errors import UserError
from vlmscale.study.selection import SUITES, Selection, Series

Key = tuple[str, str]  # series, family
Make = Callable[[pd.DataFrame, Key], pd.DataFrame]


def select_family_means(errors: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of an errors table that average a family's benchmarks; laws are fitted on these."""
    return errors[errors["benchmark"] == "mean"]


def select_fitted(errors: pd.DataFrame, selection: Selection, family: str) -> pd.DataFrame:
    """Return the cells that one law is fitted on: its methods, budget and family, role "fit".

    Raises UserError for cells of two protocols.
    """
    mine = select_cells(errors, selection)
    mine = mine[(mine["family"] == family) & (mine["role"] == "fit")]
    require_one_protocol(mine)
    return mine


def list_suites(errors: pd.DataFrame) -> list[str]:
    """Return the families of an errors table that have laws."""
    return [family for family in errors["family"].unique() if family in SUITES]


def tabulate_laws(errors: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Fit the law of each series and family on the cells of role "fit".

    errors: family means, as of tabulate_errors or load_published_errors.
    """

    def fit(points: pd.DataFrame, _: Key) -> pd.DataFrame:
        (axis,) = points["size_axis"].unique()
        about = {"size_axis": axis, "protocol": require_one_protocol(points)}
        return pd.DataFrame([{**about, **describe_fit(fit_power_law(points), points)}])

    return tabulate_each(errors, series, fit)


def tabulate_draws(
    errors: pd.DataFrame, samples: pd.DataFrame | None, series: Series, *, draws: int, seed: int
) -> pd.DataFrame:
    """Draw every law by every scheme that applies to it.

    Columns series, family, scheme, amplitude, alpha, beta, floor, ratio and, of the hierarchical scheme,
    noise, offset, slope, center (sample_laws). samples: of tabulate_samples, where questions were kept.
    """

    def resample(points: pd.DataFrame, key: Key) -> pd.DataFrame:
        law, chosen = fit_power_law(points), {"draws": draws, "seed": seed}
        tables: dict[str, pd.DataFrame] = {
            scheme: draw_laws(points, law, scheme, **chosen) for scheme in list_schemes(points)
        }
        if samples is not None:
            mine = samples[samples["family"] == key[1]]
            several = mine["benchmark"].nunique() > 1
            for kind in SAMPLE_SCHEMES if several else SAMPLE_SCHEMES[:1]:
                tables[kind] = bootstrap_samples(points, mine, kind, **chosen)
        return _stack_schemes(tables)

    return tabulate_each(errors, series, resample)


def tabulate_intervals(
    errors: pd.DataFrame, draws: pd.DataFrame, series: Series, text_tokens: Sequence[int]
) -> pd.DataFrame:
    """Return 95 % intervals of every law by each scheme of `draws`, the delta method and the jackknife.

    Columns series, family, scheme, quantity, low, median, high. `median` is the estimate for the last two,
    which hold D fixed where it is on its bound.
    """
    by_law = dict(iter(draws.groupby(["series", "family"])))

    def summarise(points: pd.DataFrame, key: Key) -> pd.DataFrame:
        most = int(points["visual_tokens"].max())
        tables = {
            str(scheme): summarize_draws(table, text_tokens, most)
            for scheme, table in by_law[key].groupby("scheme", sort=False)
        }
        law = fit_power_law(points)
        free = all(bound == "interior" for bound in law.exponent_bounds)
        if free and len(points) > PARAMETERS:
            for scheme, method in (("delta method", delta_method), ("jackknife", jackknife)):
                table = method(points, law).query("quantity != 'amplitude'")
                tables[scheme] = table.rename(columns={"estimate": "median"})
        return _stack_schemes(tables)[["scheme", "quantity", "low", "median", "high"]]

    return tabulate_each(errors, series, summarise)


def _stack_schemes(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, names=["scheme"]).reset_index(level="scheme").reset_index(drop=True)


def profile_down(points: pd.DataFrame) -> pd.DataFrame:
    """Fit the law at each fixed D, from -1 to nearly the smallest error, where no law exists."""
    highest = 0.98 * float(points["error"].min())
    below = np.linspace(-1, 0, 40, endpoint=False)
    return profile_floor(points, np.concatenate([below, np.linspace(0, highest, 41)]))


def tabulate_envelopes(
    errors: pd.DataFrame, series: Series, text_tokens: Sequence[int]
) -> pd.DataFrame:
    """Return the Pareto front of every law over its fitted sizes, V up to the largest fitted one.

    Columns series, family, text_tokens, and those of frontier.envelope.
    """

    def fronts(points: pd.DataFrame, _: Key) -> pd.DataFrame:
        law = fit_power_law(points)
        sizes = points["n_params_b"].unique().tolist()
        most = float(points["visual_tokens"].max())
        tables = [
            pareto_envelope(law.predict, sizes, q, high=most).assign(text_tokens=q)
            for q in text_tokens
        ]
        return pd.concat(tables, ignore_index=True)

    return tabulate_each(errors, series, fronts)


def tabulate_each(errors: pd.DataFrame, series: Series, make: Make) -> pd.DataFrame:
    """Stack make(points, (series, family)) of every law, with columns series and family."""
    tables = []
    for name, selection in series.items():
        for family in list_suites(errors):
            points = select_fitted(errors, selection, family)
            if points.empty:
                continue
            try:
                table = make(points, (name, family))
            except UserError as error:
                raise UserError(f"law {name}, {family}: {error}") from None
            about = {"series": name, "family": family}
            tables.append(table.assign(**about)[[*about, *table]])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def describe_fit(law: PowerLaw, points: pd.DataFrame) -> dict[str, Any]:
    """Return a law and how it fits `points`, as in a row of tabulate_laws."""
    residual = points["error"].to_numpy(float) - law.predict_points(points)
    return {
        **describe_law(law),
        "alpha_bound": law.exponent_bounds[0],
        "beta_bound": law.exponent_bounds[1],
        "rmse": float(np.sqrt(np.mean(residual**2))),
        "most_visual_tokens": int(points["visual_tokens"].max()),
        "converged": law.converged,
    }


def read_law(row: Mapping[str, Any]) -> PowerLaw:
    """Return the law in a row of tabulate_laws."""
    names = ("amplitude", "alpha", "beta", "floor", "floor_bound", "sse", "points", "converged")
    bounds = (row["alpha_bound"], row["beta_bound"])
    return PowerLaw(**{name: row[name] for name in names}, exponent_bounds=bounds)
