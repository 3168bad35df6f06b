"""Claims on which model and how many tokens to take (section 3.3, figures 1, 3 and 4)."""

import itertools

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.checks import Measure, over_sizes, released
from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.laws.frontier import pareto_front
from vlmscale.analysis.laws.optimum import crossover, flat_range, least_text_tokens, optimal_tokens
from vlmscale.costs.flops import prefill_gflops

_MOST = 576
ABOUT_EQUAL = ((1.8, 144), (4.0, 64), (7.0, 36))  # Fig 4
_REFERENCE = (0.5, 576)


@released("C12", again=True)
def cached(evidence: Evidence) -> Measure:
    front = _front(evidence.reasoning, 0)
    return over_sizes(
        float(_optimum(evidence.reasoning.law.ratio, 0)),
        _optimum(evidence.reasoning.draws["ratio"], 0),
        f"At the least token count there is. Measured Pareto front at Q = 0: {_listed(front)}.",
    )


@released("C13", again=True)
def trades(evidence: Evidence) -> Measure:
    parts, shares = [], []
    for q in (0, 50, 100):
        won, tried = _trades(evidence.reasoning.points, q)
        parts.append(f"Q = {q}: {won} of {tried}")
        shares.append(won / tried)
    return Measure(
        min(shares),
        how="All pairs of measured cells with a larger LLM, no more tokens and no more cost that err "
        f"less. {'; '.join(parts)}. For a law the share is 1 only as r grows without limit.",
    )


@released("C14", again=True)
def about_sixteen(evidence: Evidence) -> Measure:
    suite = evidence.reasoning
    counts = np.sort(suite.points["visual_tokens"].unique()).astype(float)
    drawn = suite.draws
    best = [_best_tested(a, b, counts) for a, b in drawn[["alpha", "beta"]].itertuples(index=False)]
    law = suite.law
    flat = flat_range(law.alpha, law.beta, 50, 0.01, low=1, high=_MOST)
    return over_sizes(
        _best_tested(law.alpha, law.beta, counts),
        np.array(best),
        f"T* = {float(_optimum(law.ratio, 50)):.2f}; error within 1 % of the best from {flat[0]:.1f} to "
        f"{flat[1]:.1f} tokens.",
    )


@released("C15")
def dotted_line(evidence: Evidence) -> Measure:
    drawn = evidence.readings["fig1b_optimum"][0]
    return _optimum_at_50(
        evidence.reasoning,
        f"For this law T* is the same at every budget, so a line at one count can be right; {drawn:g} is a "
        "constant of the plotting script.",
    )


@released("C56", again=True)
def one_token(evidence: Evidence) -> Measure:
    suite = evidence.reasoning
    longest = np.quantile(suite.draws["ratio"] - 1, [0.025, 0.975])
    return over_sizes(
        float(_optimum(suite.law.ratio, 0)),
        _optimum(suite.draws["ratio"], 0),
        f"One token is optimal up to {suite.law.ratio - 1:.2f} text tokens that are not cached "
        f"[{longest[0]:.2f}, {longest[1]:.2f}]; with 50, T* = {float(_optimum(suite.law.ratio, 50)):.2f}.",
    )


def _optimum_at_50(suite: Suite, how: str) -> Measure:
    return over_sizes(float(_optimum(suite.law.ratio, 50)), _optimum(suite.draws["ratio"], 50), how)


@released("C16", again=True)
def rises_with_text(evidence: Evidence) -> Measure:
    lengths = [0, 10, 20, 50, 100, 200]
    found = _optimum(evidence.reasoning.law.ratio, lengths)
    listed = ", ".join(f"{q}: {t:.2f}" for q, t in zip(lengths, found, strict=True))
    drawn = np.stack([_optimum(evidence.reasoning.draws["ratio"], q) for q in lengths])
    return over_sizes(
        (np.diff(found) > 0).mean(), (np.diff(drawn, axis=0) > 0).mean(0), f"T* by Q: {listed}."
    )


@released("C17", again=True)
def short_text(evidence: Evidence) -> Measure:
    suite = evidence.reasoning
    sizes = [*sorted(suite.points["n_params_b"].unique()), 14.0]
    pairs = list(itertools.pairwise(sizes))
    least = {pair: least_text_tokens(*pair, suite.law.ratio) for pair in pairs}
    drawn = [min(least_text_tokens(*pair, r) for pair in pairs) for r in suite.draws["ratio"]]
    listed = ", ".join(f"{a:g}B and {b:g}B from Q = {q:.1f}" for (a, b), q in least.items())
    return over_sizes(min(least.values()), np.array(drawn), f"Crossovers: {listed}.")


@released("C18", again=True)
def long_text(evidence: Evidence) -> Measure:
    suite = evidence.reasoning
    at = crossover(4, 7, suite.law.ratio, 100)
    if at is None:
        raise AssertionError("the reasoning law has a ratio above 1")
    drawn = [crossover(4, 7, ratio, 100) for ratio in suite.draws["ratio"]]
    tokens, small, cost = _measured_crossover(suite.points, 4, 7, 100)
    return over_sizes(
        at.large_tokens,
        np.array([found.large_tokens if found else np.inf for found in drawn]),
        f"By the law 7B with {at.large_tokens:.2f} tokens costs and errs as 4B with "
        f"{at.small_tokens:.1f}, at {at.gflops:.0f} GFLOPs; by straight lines in ln V through "
        f"the measured points 7B with {tokens:.1f} as 4B with {small:.1f}, at {cost:.0f}.",
    )


@released("C19")
def drawn_sizes(evidence: Evidence) -> Measure:
    low_tick, high_tick = evidence.readings["fig3a_vertical_ticks"]
    points = evidence.reasoning.points

    def axis(sizes: tuple[float, ...]) -> tuple[float, float]:
        errors = points[points["n_params_b"].isin(sizes)]["error"]
        margin = 0.05 * (errors.max() - errors.min())
        return errors.min() - margin, errors.max() + margin

    text = axis(evidence.readings["fig3a_text_sizes"])
    legend = axis(evidence.readings["fig3a_legend_sizes"])
    return Measure(
        text[1],
        how=f"Printed ticks run from {low_tick} to {high_tick}. The 4B and 7B errors need "
        f"{text[0]:.3f} to {text[1]:.3f}, those of 1.8B and 4B {legend[0]:.3f} to {legend[1]:.3f}.",
    )


@released("C20")
def equal_compute(evidence: Evidence) -> Measure:
    spreads = []
    for q in (0, 50, 100):
        cost = [float(prefill_gflops(n, v, q)) for n, v in ABOUT_EQUAL]
        spreads.append(max(cost) / min(cost))
    sizes = {d.nominal_b: d.non_embedding_b for d in evidence.decoders.values()}
    inner = [float(prefill_gflops(sizes[n], v, 0)) for n, v in ABOUT_EQUAL]
    return Measure(
        spreads[0],
        how=f"At Q = 50 {spreads[1]:.2f}, at Q = 100 {spreads[2]:.2f}; at Q = 0 with sizes counted without "
        f"embeddings {max(inner) / min(inner):.2f}.",
    )


@released("C21", again=True)
def reasoning_at_equal_compute(evidence: Evidence) -> Measure:
    gains = _gains(evidence.reasoning)
    return Measure(gains[2] - gains[0], how=f"Gains over 0.5B/576: {_percentages(gains)}.")


@released("C23", again=True)
def ocr_at_equal_compute(evidence: Evidence) -> Measure:
    gains = _gains(evidence.ocr)
    lower = [b < a for a, b in itertools.combinations(gains, 2)]
    return Measure(float(np.mean(lower)), how=f"Gains over 0.5B/576: {_percentages(gains)}.")


@released("C30", again=True)
def ocr_optimum(evidence: Evidence) -> Measure:
    suite = evidence.ocr
    won = [_trades(suite.points, q) for q in (0, 50)]
    return _optimum_at_50(
        suite,
        "alpha < beta: error falls in T at any fixed cost. Of the measured trades of tokens for a larger "
        f"LLM {won[0][0]} of {won[0][1]} help at Q = 0, {won[1][0]} of {won[1][1]} at Q = 50. With the "
        "four sizes there are, a budget below that of 0.5B/576 still forces fewer tokens.",
    )


@released("C55", again=True)
def large_with_few(evidence: Evidence) -> Measure:
    front = _front(evidence.reasoning, 50)
    largest = front["n_params_b"].max()
    return Measure(
        front[front["n_params_b"] < largest]["visual_tokens"].max(),
        how=f"Measured Pareto front at Q = 50: {_listed(front)}. At Q = 0 all but the largest LLM have one "
        "token on it.",
    )


def _optimum(ratio: object, text_tokens: object) -> np.ndarray:
    return optimal_tokens(ratio, text_tokens, low=1, high=_MOST)  # type: ignore[arg-type]


def _best_tested(alpha: float, beta: float, counts: np.ndarray) -> float:
    return float(counts[np.argmin(alpha * np.log(50 + counts) - beta * np.log(counts))])


def _front(suite: Suite, text_tokens: float) -> pd.DataFrame:
    points = suite.points
    cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], text_tokens)
    return points.iloc[pareto_front(cost, points["error"])]


def _listed(cells: pd.DataFrame) -> str:
    pairs = cells[["n_params_b", "visual_tokens"]].itertuples(index=False)
    return ", ".join(f"{n:g}B/{v}" for n, v in pairs)


def _trades(points: pd.DataFrame, text_tokens: float) -> tuple[int, int]:
    """How many pairs with a larger LLM, no more tokens and no more cost err less, and of how many."""
    pairs = points.merge(points, how="cross", suffixes=("_small", "_large"))
    cost_small, cost_large = (
        prefill_gflops(pairs[f"n_params_b_{which}"], pairs[f"visual_tokens_{which}"], text_tokens)
        for which in ("small", "large")
    )
    tried = pairs[
        (pairs["n_params_b_large"] > pairs["n_params_b_small"])
        & (pairs["visual_tokens_large"] <= pairs["visual_tokens_small"])
        & (cost_large <= cost_small)
    ]
    return int((tried["error_large"] < tried["error_small"]).sum()), len(tried)


def _gains(suite: Suite) -> list[float]:
    """Percent change of the score of Fig 4's cells from its reference cell."""
    reference = suite.score(*_REFERENCE)
    return [100 * (suite.score(n, v) / reference - 1) for n, v in ABOUT_EQUAL]


def _percentages(gains: list[float]) -> str:
    cells = zip(ABOUT_EQUAL, gains, strict=True)
    return ", ".join(f"{n:g}B/{v} {gain:+.2f} %" for (n, v), gain in cells)


def _measured_crossover(
    points: pd.DataFrame, small_b: float, large_b: float, text_tokens: float
) -> tuple[float, float, float]:
    """Tokens of the larger and the smaller LLM, and cost, where their interpolated errors meet."""
    rows = {
        n: points[points["n_params_b"] == n].sort_values("visual_tokens")
        for n in (small_b, large_b)
    }

    def error(n: float, tokens: np.ndarray) -> np.ndarray:
        log_v = np.log(rows[n]["visual_tokens"].to_numpy(float))
        return np.interp(np.log(tokens), log_v, rows[n]["error"].to_numpy(float))

    large = np.geomspace(1, _MOST, 200_000)
    small = large_b / small_b * (text_tokens + large) - text_tokens
    inside = (small >= 1) & (small <= _MOST)
    better = error(large_b, large[inside]) < error(small_b, small[inside])
    at = int(np.argmax(better))  # the least cost at which the larger one is better
    tokens = float(large[inside][at])
    return tokens, float(small[inside][at]), 2 * large_b * (text_tokens + tokens)
