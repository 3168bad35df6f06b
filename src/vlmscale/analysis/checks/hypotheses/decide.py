"""Decide the hypotheses that were laid down, with their rules, before the study ran.

H1 to H4 and H8 are about every law, H5 to H7 about every training budget, where methods meet. A hypothesis
that a study has no cells for has a row, too: "not tested", and why.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.engine import Verdict, tabulate_claims
from vlmscale.analysis.checks.hypotheses.laws import check_laws
from vlmscale.analysis.checks.hypotheses.methods import check_methods
from vlmscale.analysis.checks.hypotheses.results import Results
from vlmscale.study.selection import Series

_COLUMNS = {
    "id": "id",
    "hypothesis": "text",
    **{name: name for name in ("series", "budget", "family", "value", "low", "high")},
    **{name: name for name in ("rule", "verdict", "note")},
}
COLUMNS = list(_COLUMNS)


def decide_hypotheses(
    results: Results,
    series: Series,
    text_tokens: Sequence[int],
    *,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Decide each hypothesis on each law (or budget) and family: one row each, columns COLUMNS.

    series: by law, its cells. text_tokens: Q of the study, for H4. draws, seed: of the questions that H6
    resamples. The column series is "" for hypotheses on a budget; low, high: 95 % intervals. Raises
    UserError where the draws of a law are missing.
    """
    rng = np.random.default_rng(seed)
    rows = [*check_laws(results, series, text_tokens), *check_methods(results, draws, rng)]
    table = tabulate_claims(rows, _COLUMNS, verdict=lambda found: Verdict(found).on_hypothesis)
    return table.sort_values("id", kind="stable", ignore_index=True)
