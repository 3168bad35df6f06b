"""Where one token stands, as text: one row a point, one column a way to answer."""

import pandas as pd

from vlmscale.report.format import fixed

_POINT = {
    "benchmark": "benchmark",
    "budget": "budget",
    "llm": "LLM",
    "method": "method",
    "visual_tokens": "visual tokens",
}


def format_one_token(compared: pd.DataFrame) -> pd.DataFrame:
    """Format error and costs of each point, with * where no other beats it in cost and error.

    compared: of mark_fronts. Costs are GFLOPs of an answer of one token; "kept" is MB an image.
    """
    modes = list(dict.fromkeys(compared["mode"]))
    named = [column for column in _POINT if column != "budget" or compared[column].nunique() > 1]
    rows = []
    keys = [*_POINT, "evidence"]
    order = ["benchmark", "budget", "llm", "visual_tokens", "method"]
    for key, mine in compared.sort_values(order, kind="stable").groupby(keys, sort=False):
        about = dict(zip(keys, map(str, key), strict=True))
        row = {_POINT[column]: about[column] for column in named}
        row["error"] = fixed(3)(mine["error"].iloc[0])
        by_mode = mine.set_index("mode")
        for mode in modes:
            cost, on_front = by_mode.loc[mode, ["cost", "on_front"]]
            unit = "MB" if mode == "kept" else "GFLOPs"
            row[f"{mode}, {unit}"] = f"{cost:.4g}{' *' if on_front else ''}"
        rows.append({**row, "evidence": about["evidence"]})
    return pd.DataFrame(rows)
