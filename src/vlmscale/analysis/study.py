"""All that the workflow fits and decides of one study, each step as one function of its tables."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from vlmscale.analysis.checks.hypotheses.decide import decide_hypotheses
from vlmscale.analysis.checks.learning import check_learning, summarize_losses
from vlmscale.analysis.laws import tables as laws
from vlmscale.analysis.laws.forms import compare_forms
from vlmscale.analysis.laws.frontier import tabulate_frontiers
from vlmscale.analysis.laws.variants import fit_variants
from vlmscale.study.selection import Series


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
