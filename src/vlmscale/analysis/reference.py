"""Reference results of a finished study, kept with the code for comparison with other runs."""

from collections.abc import Mapping

import pandas as pd

from vlmscale.analysis.collect import CELL_COLUMNS

_DIGITS = 6
_COST = ["run", "stage", "steps", "tokens", "seconds", "trained_parameters", "device"]
_LAW = ["series", "family", "amplitude", "alpha", "beta", "ratio", "floor", "floor_bound"]
_FITTED = {
    "laws": [*_LAW, "rmse", "points"],
    "intervals": ["series", "family", "scheme", "quantity", "low", "high"],
    "verdicts": ["id", "series", "budget", "family", "value", "low", "high", "verdict"],
}


def select_reference(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables scores, laws, intervals, verdicts and cost, rounded to six digits.

    tables: errors, laws, intervals, verdicts and cost of a study. The times of cost hold for one machine.
    """
    single = tables["errors"][tables["errors"]["benchmark"] != "mean"]
    parameters = (single["total_b"] * 1e9).round().astype(int)
    scores = single[[*CELL_COLUMNS, "family", "benchmark", "score", "n"]]
    return {
        "scores": scores.assign(parameters=parameters).round({"score": _DIGITS}),
        **{name: tables[name][columns].round(_DIGITS) for name, columns in _FITTED.items()},
        "cost": tables["cost"][_COST].round({"seconds": 1}),
    }
