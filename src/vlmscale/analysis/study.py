"""All that the workflow fits and decides of one study, each step as one function of its tables."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from vlmscale.analysis.checks.hypotheses.decide import decide_hypotheses
from vlmscale.analysis.checks.learning import check_learning, summarize_losses
from vlmscale.analysis.decisions.lifetime import Sampled, tabulate_lifetimes
from vlmscale.analysis.laws import tables as laws
from vlmscale.analysis.laws.budget_law import SAMPLES
from vlmscale.analysis.laws.budget_tables import describe_budgets
from vlmscale.analysis.laws.forms import compare_forms
from vlmscale.analysis.laws.frontier import tabulate_frontiers
from vlmscale.analysis.laws.variants import fit_variants
from vlmscale.errors import UserError
from vlmscale.study.selection import Series, group_budgets


def fit_study(
    errors: pd.DataFrame,
    samples: pd.DataFrame | None,
    series: Series,
    text_tokens: Sequence[int],
    *,
    draws: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Fit every law and return its tables by name.

    errors: of tabulate_errors. samples: of tabulate_samples, where single questions were kept. text_tokens:
    the Q of optima and frontiers. draws, seed: of the bootstrap.
    """
    means = laws.select_family_means(errors)
    refits = laws.tabulate_draws(means, samples, series, draws=draws, seed=seed)

    def tabulate(make: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
        return laws.tabulate_each(means, series, lambda points, _: make(points))

    return {
        "laws": laws.tabulate_laws(means, series),
        "draws": refits,
        "intervals": laws.tabulate_intervals(means, refits, series, text_tokens),
        "profile": tabulate(laws.profile_down),
        "variants": tabulate(fit_variants),
        "forms": tabulate(compare_forms),
        "frontier": tabulate_frontiers(means, series, text_tokens),
        "envelope": laws.tabulate_envelopes(means, series, text_tokens),
    }


def decide_study(
    tables: Mapping[str, pd.DataFrame], series: Series, *, baseline: str, draws: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Return the tables "verdicts", of the hypotheses, and "sanity", of the checks of learning.

    tables: those of the study by name; laws and draws may be absent. baseline: the method that
    others are compared with.
    """
    # The methods of the first law stand for the study.
    methods = next(iter(series.values())).methods if series else (baseline,)
    losses = summarize_losses(tables["trainings"])
    return {
        "verdicts": decide_hypotheses(tables, series, draws=draws, seed=seed),
        "sanity": check_learning(tables["errors"], tables["chance"], losses, methods),
    }


def fit_budgets(
    errors: pd.DataFrame,
    series: Series,
    sampled: Sampled,
    text_tokens: Sequence[int],
    *,
    draws: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Fit one law of N, V and training budget for each series with several; return its tables by name.

    "budget_law": columns series, family and those of describe_budgets. "lifetime": of tabulate_lifetimes,
    for each Q of text_tokens. errors: of tabulate_errors. sampled: what trainings of each budget process.
    """
    means = laws.select_family_means(errors)
    tables: dict[str, list[pd.DataFrame]] = {"budget_law": [], "lifetime": []}
    for name, selections in group_budgets(series, sampled.by_budget).items():
        for family in laws.list_suites(errors):
            points = pd.concat([laws.select_fitted(means, one, family) for one in selections])
            if points.empty:
                continue
            points = points.assign(**{SAMPLES: points["budget"].map(sampled.by_budget)})
            try:
                law = describe_budgets(points, text_tokens, draws=draws, seed=seed)
                lives = tabulate_lifetimes(points, sampled, text_tokens, draws=draws, seed=seed)
            except UserError as error:
                raise UserError(f"law of budgets {name}, {family}: {error}") from None
            for key, table in (("budget_law", law), ("lifetime", lives)):
                about = {"series": name, "family": family}
                tables[key].append(table.assign(**about)[[*about, *table]])
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
