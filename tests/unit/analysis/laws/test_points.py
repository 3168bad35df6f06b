"""Points that no law can be fitted to are refused, and what they lack is named."""

import numpy as np
import pandas as pd
import pytest

from tests.support.laws import read_scores
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.errors import UserError


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="error"), "column 'error' is missing"),
        (lambda t: t.assign(error=t["error"] * 100), r"errors must lie in \[0, 1\]"),
        (lambda t: t.assign(error=np.nan), "column 'error' has missing"),
        (lambda t: t.assign(error="a"), "column 'error' must hold numbers"),
        (lambda t: t.assign(visual_tokens=np.inf), "'visual_tokens' has missing or infinite"),
        (lambda t: pd.concat([t, t.iloc[[3]]]), r"two rows for N = 0.5, V = 36"),
        (lambda t: t[t.visual_tokens == 4].assign(visual_tokens=4), "all rows have the same"),
        (lambda t: t.assign(n_params_b=0.0), "n_params_b.*must be positive"),
        (lambda t: t[t.n_params_b == 7], "all rows have the same n_params_b"),
        (lambda t: t.iloc[[0, 8, 16]], "3 rows are too few"),
    ],
)
def test_points_that_cannot_be_fitted(change, words):
    with pytest.raises(UserError, match=words):
        fit_power_law(change(read_scores("reasoning_scores")))
