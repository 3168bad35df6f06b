"""The tables of hard questions as text: laws of parts, and the fewest visual tokens a question needs."""

import numpy as np
import pandas as pd

from vlmscale.report.format import fixed, format_floor, format_interval

_SYMBOLS = (("alpha", "α", 4), ("beta", "β", 4), ("ratio", "α/β", 2))


def format_difficulty(parts: pd.DataFrame) -> pd.DataFrame:
    """Format the law of each part of the questions with its 95 % intervals. parts: of fit_parts."""
    optima = [c for c in map(str, parts) if c.startswith("tokens_at_") and c.count("_") == 2]
    rows = []
    for part in parts.to_dict("records"):
        row = {"law": part["series"], "family": part["family"], "questions": part["part"]}
        row |= {"share, %": fixed(0)(100 * part["share"]), "number": fixed(0)(part["questions"])}
        row["error"] = fixed(3)(part["mean_error"])
        named = [*_SYMBOLS, *((c, f"V*({c.removeprefix('tokens_at_')})", 1) for c in optima)]
        for name, symbol, digits in named:
            ends = (part[f"{name}{end}"] for end in ("", "_low", "_high"))
            row[symbol] = format_interval(*ends, digits=digits)
        row["D"] = format_floor(part["floor"], part["floor_bound"])
        rows.append({**row, "chosen by": part["chosen_by"], "note": part["note"]})
    return pd.DataFrame(rows)


def format_fewest_tokens(counted: pd.DataFrame) -> pd.DataFrame:
    """Format the share of questions in percent by the V they need, in one column for each V.

    In brackets, in percent points: what held-out cells gain on these questions from the next fewer V to
    this one. counted: of count_fewest_tokens.
    """
    about = ["series", "family", "benchmark", "chosen_by"]
    order = sorted(counted["visual_tokens"].unique())
    finite = [v for v in order if np.isfinite(v)]
    titles = {v: f"{v:.0f}" if np.isfinite(v) else f"not at {finite[-1]:.0f}" for v in order}
    rows = []
    for key, mine in counted.groupby(about, sort=False):
        row = dict(zip(("law", "family", "benchmark"), key, strict=False)) | dict.fromkeys(
            titles.values(), ""
        )
        for one in mine.to_dict("records"):
            gain = 100 * (one["score"] - one["score_fewer"])
            text = fixed(0)(100 * one["share"])
            row[titles[one["visual_tokens"]]] = text + ("" if np.isnan(gain) else f" ({gain:+.0f})")
        rows.append({**row, "chosen by": key[-1]})
    return pd.DataFrame(rows)
