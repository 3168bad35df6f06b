"""Reference results of a finished study, kept with the code for comparison with other runs."""

import pandas as pd

from vlmscale.analysis.collect import CELL_COLUMNS

_DIGITS = 6
_COST = ["run", "stage", "steps", "tokens", "seconds", "trained_parameters", "device"]
_LAW = ["series", "family", "amplitude", "alpha", "beta", "ratio", "floor", "floor_bound"]
_LAW += ["rmse", "points"]
_SPREAD = ["series", "family", "scheme", "quantity", "low", "high"]
_VERDICT = ["id", "series", "budget", "family", "value", "low", "high", "verdict"]


def select_reference(
    errors: pd.DataFrame,
    laws: pd.DataFrame,
    intervals: pd.DataFrame,
    verdicts: pd.DataFrame,
    cost: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    """Return the tables scores, laws, intervals, verdicts and cost, rounded to six digits.

    cost: of cost_table; its times hold for one machine.
    """
    single = errors[errors["benchmark"] != "mean"]
    parameters = (single["total_b"] * 1e9).round().astype(int)
    scores = single[[*CELL_COLUMNS, "family", "benchmark", "score", "n"]]
    return {
        "scores": scores.assign(parameters=parameters).round({"score": _DIGITS}),
        "laws": laws[_LAW].round(_DIGITS),
        "intervals": intervals[_SPREAD].round(_DIGITS),
        "verdicts": verdicts[_VERDICT].round(_DIGITS),
        "cost": cost[_COST].round({"seconds": 1}),
    }
