"""Decide the hypotheses that were laid down before the study ran.

H1 to H3 and H8 are about every law, H5 to H7 about every training budget, where methods meet; H4 restated
the formula of V* and is gone. Every number has a two-sided p-value of being as its hypothesis says, and one
of not being so; the smaller is `p`. A verdict falls where it is at most 0.05 after Holm's correction over
all hypotheses of the study (`p_holm`). A hypothesis that a study has no cells for has a row, too: "not
tested", and why.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.engine import Verdict, require_columns
from vlmscale.analysis.checks.hypotheses.estimates import SURE
from vlmscale.analysis.checks.hypotheses.laws import check_laws
from vlmscale.analysis.checks.hypotheses.methods import check_methods
from vlmscale.analysis.comparisons.paired import adjust_by_holm
from vlmscale.study.selection import Series

COLUMNS = ["id", "hypothesis", "series", "budget", "family", "value", "low", "high", "p", "p_holm"]
COLUMNS += ["rule", "verdict", "note"]
_NEEDED = {
    "errors": ("cell", "run", "llm", "method", "visual_tokens", "budget", "role", "family"),
    "samples": ("cell", "family", "benchmark", "id", "score"),
    "laws": ("series", "family", "alpha", "beta"),
    "draws": ("series", "family", "scheme", "alpha", "beta"),
    "paired": ("method", "baseline", "llm", "visual_tokens", "budget", "family", "benchmark"),
}


def decide_hypotheses(
    tables: Mapping[str, pd.DataFrame], series: Series, *, draws: int, seed: int
) -> pd.DataFrame:
    """Decide each hypothesis on each law (or budget) and family: one row each, columns COLUMNS.

    tables: errors, samples and paired of a study; laws and draws, where it has laws. series: by law, its
    cells. draws, seed: of the questions that H6 resamples. The column series is "" for hypotheses on a
    budget; low, high: 95 % intervals. Raises UserError for a table that lacks a column and where the draws
    of a law are missing.
    """
    return find_hypotheses(tables, series, draws=draws, seed=seed)[COLUMNS]


def find_hypotheses(
    tables: Mapping[str, pd.DataFrame], series: Series, *, draws: int, seed: int
) -> pd.DataFrame:
    """Return the rows of decide_hypotheses with p_for and p_against, the p-values of both verdicts."""
    known = {name: tables.get(name, pd.DataFrame(columns=list(_NEEDED[name]))) for name in _NEEDED}
    require_columns(known, _NEEDED)
    rng = np.random.default_rng(seed)
    rows = [*check_laws(known, series), *check_methods(known, draws, rng)]
    return decide_by_holm(pd.DataFrame(rows).sort_values("id", kind="stable", ignore_index=True))


def decide_by_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Add p, p_holm and verdict to the rows of hypotheses: columns value, p_for, p_against, note."""
    p = table[["p_for", "p_against"]].min(axis=1)
    adjusted = p.copy()
    adjusted[p.notna()] = adjust_by_holm(p.dropna())
    agrees = table["p_for"] <= table["p_against"]
    verdicts = pd.Series(Verdict.OPEN.on_hypothesis, index=table.index)
    for p_used, mark in ((p, "alone"), (adjusted, "")):
        sure = p_used <= SURE
        for side, verdict in ((agrees, Verdict.HOLDS), (~agrees, Verdict.FAILS)):
            word = verdict.on_hypothesis
            verdicts = verdicts.mask(sure & side, f"{mark} {word}".strip())
    alone = verdicts.str.startswith("alone ")
    note = table["note"].mask(
        alone, table["note"] + "; " + verdicts + ", not after Holm's correction"
    )
    verdicts = verdicts.mask(alone, Verdict.OPEN.on_hypothesis)
    verdicts = verdicts.mask(table["value"].isna(), Verdict.UNTESTED.on_hypothesis)
    return table.assign(p=p, p_holm=adjusted, verdict=verdicts, note=note)
