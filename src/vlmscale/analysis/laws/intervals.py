"""The 95 % intervals of drawn laws: percentiles, but for what a bound makes of a posterior's.

- Where D = 0 is possible, alpha, beta and their difference are nearest to 0 there: percentiles of all
  draws would cut into the draws with D = 0. Their intervals therefore contain those of these draws, too.
- Alpha and beta cannot be below 0. Where draws crowd there, 0 is not excluded: the interval starts at 0
  and leaves 5 % above it; alpha / beta then has no upper end (for beta), or starts at 0 (for alpha).

Refits of resampled points take the value of a bound where they reach it, so theirs are percentiles.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.analysis.laws.points import Floats

Ends = tuple[float, float]
_TAIL = 0.025  # left out on either side
POSSIBLE = 0.05  # share of draws with D = 0 from which that is possible
# Draws crowd at 0 if more than this share is below a tenth of their median: for a normal distribution cut
# off at 0, that is a mean of less than two standard deviations.
_CROWD = 0.01


def summarize_draws(
    draws: pd.DataFrame, text_tokens: Sequence[int], max_tokens: int
) -> pd.DataFrame:
    """Return 95 % intervals of one scheme's draws: columns quantity, low, median, high.

    Quantities: those of find_intervals; for each Q > 0 of `text_tokens` the optimum V*(Q) between 1 and
    max_tokens, as `tokens_at_{Q}`; and shares of draws, the same three times: `share_ratio_above_1` (N
    matters more than V), `share_floor_0`, and of V* at its ends, `share_tokens_at_{Q}_least` and `_most`.
    """
    ends = find_intervals(draws)
    values = {
        "difference": (draws["alpha"] - draws["beta"]).to_numpy(float),
        **{name: draws[name].to_numpy(float) for name in ends if name != "difference"},
    }
    shares = {"ratio_above_1": values["ratio"] > 1, "floor_0": values["floor"] == 0}
    for q in filter(None, text_tokens):
        best = optimal_tokens(values["ratio"], q, low=1, high=max_tokens)
        values[f"tokens_at_{q}"] = best
        ends[f"tokens_at_{q}"] = find_token_ends(ends["ratio"], q, max_tokens)
        shares |= {f"tokens_at_{q}_least": best <= 1, f"tokens_at_{q}_most": best >= max_tokens}
    found = {
        **{name: (low, _quantile(values[name], 0.5), high) for name, (low, high) in ends.items()},
        **{f"share_{name}": 3 * (float(held.mean()),) for name, held in shares.items()},
    }
    table = pd.DataFrame.from_dict(found, orient="index", columns=["low", "median", "high"])
    return table.rename_axis("quantity").reset_index()


def find_intervals(draws: pd.DataFrame) -> dict[str, Ends]:
    """Return the intervals of alpha, beta, floor, ratio and difference (alpha - beta).

    draws: of one scheme; a posterior's have the column noise. Those of sample_budget_laws also give gamma.
    """
    alpha, beta, floor, ratio = (
        draws[name].to_numpy(float) for name in ("alpha", "beta", "floor", "ratio")
    )
    if "noise" not in draws or draws["noise"].isna().any():
        each = {"alpha": alpha, "beta": beta, "floor": floor, "ratio": ratio}
        return {
            name: find_ends(values)
            for name, values in (each | {"difference": alpha - beta}).items()
        }
    # How fast error falls at the middle: unlike the exponents, it hardly depends on D.
    center_b, center = (draws[name].to_numpy(float) for name in ("center_b", "center"))
    level = draws["amplitude"].to_numpy(float) * center_b**-alpha * center**-beta
    of_budget = {}
    if "gamma" in draws:
        gamma = draws["gamma"].to_numpy(float)
        level = level * draws["center_s"].to_numpy(float) ** -gamma
        flat = _crowds_at_zero(gamma * level)
        of_budget["gamma"] = _from_zero(gamma) if flat else _include(gamma, floor == 0)
    flat_n, flat_v = _crowds_at_zero(alpha * level), _crowds_at_zero(beta * level)
    if flat_v:
        of_ratio = 0.0 if flat_n else _quantile(ratio, 2 * _TAIL), np.inf
    else:
        of_ratio = _from_zero(ratio) if flat_n else find_ends(ratio)
    return {
        "alpha": _from_zero(alpha) if flat_n else _include(alpha, floor == 0),
        "beta": _from_zero(beta) if flat_v else _include(beta, floor == 0),
        "floor": find_ends(floor),
        "ratio": of_ratio,
        "difference": _include(alpha - beta, floor == 0),
        **of_budget,
    }


def find_token_ends(ratio: Ends, text_tokens: float, max_tokens: float) -> Ends:
    """Return the interval of V*(Q), between 1 and max_tokens, from that of the ratio: V* falls with it."""
    low, high = optimal_tokens(ratio[::-1], text_tokens, low=1, high=max_tokens)
    return float(low), float(high)


def describe_bounds(intervals: pd.DataFrame) -> list[str]:
    """Say which intervals of a posterior lie at a bound, in sentences.

    intervals: of summarize_draws.
    """
    names = intervals["quantity"].to_list()
    low, high = (dict(zip(names, intervals[end], strict=True)) for end in ("low", "high"))
    notes = [f"D = 0 in {low['share_floor_0']:.0%} of draws; its prior is one half."]
    notes += [
        f"{name} may be 0: its interval is one-sided."
        for name in ("alpha", "beta", "gamma")
        if low.get(name) == 0
    ]
    if high["ratio"] == np.inf:
        notes.append("alpha / beta has no upper end, as beta may be 0.")
    for name in names:
        if not name.startswith("tokens_at_"):
            continue
        least, most = low[f"share_{name}_least"], low[f"share_{name}_most"]
        words = [
            f"{share:.0%} of draws at {end}"
            for share, end in ((least, "1 token"), (most, "all tokens"))
            if share > _TAIL
        ]
        if words:
            modes = " It has two modes." if max(least, most) < 1 - _TAIL else ""
            notes.append(f"V*({name.removeprefix('tokens_at_')}): {' and '.join(words)}.{modes}")
    return notes


def describe_outside(values: Mapping[str, float], intervals: pd.DataFrame) -> str:
    """Name the estimates that lie outside their intervals, in a sentence; "" for none.

    values: by quantity. intervals: of summarize_draws. Least squares alone decides an estimate; a posterior
    weighs it against priors, half of that of D on D = 0, and may have almost nothing there.
    """
    ends = intervals.set_index("quantity")
    outside = [
        name
        for name, value in values.items()
        if not is_inside(value, float(ends["low"].loc[name]), float(ends["high"].loc[name]))
    ]
    return f"least squares lies outside the interval of {', '.join(outside)}" if outside else ""


def is_inside(value: float, low: float, high: float) -> bool:
    """Return whether an estimate lies in its interval, but for a thousandth of it, or either is missing."""
    room = max(1e-9, 1e-3 * abs(value)) if np.isfinite(value) else 0.0
    return bool(np.isnan([value, low, high]).any() or low - room <= value <= high + room)


def find_ends(values: ArrayLike) -> Ends:
    """Return the percentiles that leave 2.5 % of the draws out on either side."""
    return _quantile(values, _TAIL), _quantile(values, 1 - _TAIL)


def _crowds_at_zero(values: Floats) -> bool:
    return bool((values <= np.median(values) / 10).mean() > _CROWD)


def _from_zero(values: Floats) -> Ends:
    return 0.0, _quantile(values, 1 - 2 * _TAIL)


def _include(values: Floats, at_zero: NDArray[np.bool_]) -> Ends:
    """Return percentiles of all draws, or wider ends that contain those of the draws with D = 0."""
    low, high = find_ends(values)
    if at_zero.mean() < POSSIBLE:
        return low, high
    least, most = find_ends(values[at_zero])
    return min(low, least), max(high, most)


def _quantile(values: ArrayLike, level: float) -> float:
    # A draw, never the mean of two, so that infinite ratios stay infinite.
    return float(np.quantile(np.asarray(values, float), level, method="closest_observation"))
