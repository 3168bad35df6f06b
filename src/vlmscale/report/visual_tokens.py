"""The table of visual tokens that released VLMs were asked for and given, as text."""

import pandas as pd

from vlmscale.report.format import fixed


def format_visual_tokens(counted: pd.DataFrame) -> pd.DataFrame:
    """Format one row per model, budget and benchmark. counted: of tabulate_visual_tokens."""
    rows = counted[counted["benchmark"] != "mean"].sort_values(
        ["method", "llm", "asked_tokens"], kind="stable"
    )
    return pd.DataFrame(
        {
            "model": rows["llm"],
            "family": rows["method"],
            "budget": rows["asked_tokens"].astype(str),
            "benchmark": rows["benchmark"],
            "expected": rows["expected_tokens"].map(fixed(1)),
            "mean": rows["mean_tokens"].map(fixed(1)),
            "5 %": rows["p05"].map(fixed(0)),
            "95 %": rows["p95"].map(fixed(0)),
            "role": rows["role"],
        }
    )
