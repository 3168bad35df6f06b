"""Claims on which LLM and how many tokens to choose (section 3.3, figures 1, 3 and 4)."""

import itertools
from collections.abc import Iterable
from functools import partial

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.audit.evidence import Evidence, Suite
from vlmscale.analysis.checks.audit.registry import released
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws.frontier import pareto_front
from vlmscale.analysis.laws.intervals import find_token_ends
from vlmscale.analysis.laws.optimum import crossover, flat_range, least_text_tokens, optimal_tokens
from vlmscale.analysis.laws.points import Floats
from vlmscale.costs.nominal import prefill_gflops

_MOST = 576
ABOUT_EQUAL = ((1.8, 144), (4.0, 64), (7.0, 36))  # Fig 4
_REFERENCE = (0.5, 576)
_optimize = partial(optimal_tokens, low=1, high=_MOST)


@released("C12", again=True)
def optimize_cached_text(evidence: Evidence) -> Finding:
    front = _list_cells(_select_front(evidence.reasoning, 0))
    note = f"V* is the smallest token count. Measured Pareto front at Q = 0: {front}."
    return _find_optimum(evidence.reasoning, 0, note)


@released("C13", again=True)
def count_trades(evidence: Evidence) -> Finding:
    counts = {q: _count_trades(evidence.reasoning.points, q) for q in (0, 50, 100)}
    listed = "; ".join(f"Q = {q}: {won} of {tried}" for q, (won, tried) in counts.items())
    return Finding(
        min(won / tried for won, tried in counts.values()),
        note="Pairs of measured cells in which the larger LLM, with no more tokens and no more cost, errs "
        f"less. {listed}. A law has share 1 only as r grows without limit.",
    )


@released("C14", again=True)
def choose_tested_count(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    counts = np.sort(suite.points["visual_tokens"].unique()).astype(float)
    law = suite.law
    flat = flat_range(law.alpha, law.beta, 50, 0.01, low=1, high=_MOST)
    return suite.summarize(
        _choose_tested(pd.DataFrame([vars(law)]), counts).item(),
        _choose_tested(suite.draws, counts),
        f"V* = {float(_optimize(law.ratio, 50)):.2f}; error within 1 % of the best from {flat[0]:.1f} to "
        f"{flat[1]:.1f} tokens.",
    )


@released("C15")
def optimize_50(evidence: Evidence) -> Finding:
    drawn = evidence.readings["fig1b_optimum"][0]
    return _find_optimum(
        evidence.reasoning,
        50,
        f"For this law V* is the same at every budget, so a line at one count can be right; {drawn:g} is a "
        "constant of the plotting script.",
    )


@released("C56", again=True)
def optimize_uncached_text(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    longest = np.subtract(suite.intervals["ratio"], 1)
    return _find_optimum(
        suite,
        0,
        f"One token is optimal up to {suite.law.ratio - 1:.2f} text tokens that are not cached "
        f"[{longest[0]:.2f}, {longest[1]:.2f}]; with 50, V* = {float(_optimize(suite.law.ratio, 50)):.2f}. "
        "The paper's second version (ICLR 2025) has the title Inference Optimal VLMs Need Fewer Visual "
        "Tokens and More Parameters.",
    )


def _find_optimum(suite: Suite, text_tokens: float, note: str) -> Finding:
    best = float(_optimize(suite.law.ratio, text_tokens))
    return suite.report(best, find_token_ends(suite.intervals["ratio"], text_tokens, _MOST), note)


@released("C16", again=True)
def follow_text(evidence: Evidence) -> Finding:
    suite, lengths = evidence.reasoning, [0, 10, 20, 50, 100, 200]
    found = _optimize(suite.law.ratio, lengths)
    listed = ", ".join(f"{q}: {v:.2f}" for q, v in zip(lengths, found, strict=True))
    drawn = np.stack([_optimize(suite.draws["ratio"], q) for q in lengths])
    return suite.summarize(
        (np.diff(found) > 0).mean(), (np.diff(drawn, axis=0) > 0).mean(0), f"V* by Q: {listed}."
    )


@released("C17", again=True)
def find_shortest_text(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    sizes = [*sorted(suite.points["n_params_b"].unique()), 14.0]
    pairs = list(itertools.pairwise(sizes))
    least = {pair: least_text_tokens(*pair, suite.law.ratio) for pair in pairs}
    drawn = [min(least_text_tokens(*pair, r) for pair in pairs) for r in suite.draws["ratio"]]
    listed = ", ".join(f"{a:g}B and {b:g}B from Q = {q:.1f}" for (a, b), q in least.items())
    return suite.summarize(min(least.values()), np.array(drawn), f"Crossovers: {listed}.")


@released("C18", again=True)
def find_crossover(evidence: Evidence) -> Finding:
    suite = evidence.reasoning
    at = crossover(4, 7, suite.law.ratio, 100)
    if at is None:
        raise AssertionError("the reasoning law has a ratio above 1")
    drawn = [crossover(4, 7, ratio, 100) for ratio in suite.draws["ratio"]]
    tokens, small, cost = _interpolate_crossover(suite.points, 4, 7, 100)
    return suite.summarize(
        at.large_tokens,
        np.array([found.large_tokens if found else np.inf for found in drawn]),
        f"By the law 7B with {at.large_tokens:.2f} tokens costs and errs as 4B with "
        f"{at.small_tokens:.1f}, at {at.gflops:.0f} GFLOPs; by straight lines in ln V through "
        f"the measured points 7B with {tokens:.1f} as 4B with {small:.1f}, at {cost:.0f}.",
    )


@released("C19")
def measure_axis(evidence: Evidence) -> Finding:
    low_tick, high_tick = evidence.readings["fig3a_vertical_ticks"]
    points = evidence.reasoning.points

    def axis(sizes: tuple[float, ...]) -> tuple[float, float]:
        errors = points[points["n_params_b"].isin(sizes)]["error"]
        margin = 0.05 * (errors.max() - errors.min())
        return errors.min() - margin, errors.max() + margin

    text = axis(evidence.readings["fig3a_text_sizes"])
    legend = axis(evidence.readings["fig3a_legend_sizes"])
    return Finding(
        text[1],
        note=f"Printed ticks run from {low_tick} to {high_tick}. The 4B and 7B errors need "
        f"{text[0]:.3f} to {text[1]:.3f}, those of 1.8B and 4B {legend[0]:.3f} to {legend[1]:.3f}.",
    )


@released("C20")
def compare_costs(evidence: Evidence) -> Finding:
    inner = {d.nominal_b: d.non_embedding_b for d in evidence.decoders.values()}

    def spread(cells: Iterable[tuple[float, int]], text_tokens: int) -> float:
        cost = [float(prefill_gflops(n, v, text_tokens)) for n, v in cells]
        return max(cost) / min(cost)

    spreads = [spread(ABOUT_EQUAL, q) for q in (0, 50, 100)]
    without_embeddings = spread([(inner[n], v) for n, v in ABOUT_EQUAL], 0)
    return Finding(
        spreads[0],
        note=f"At Q = 50 {spreads[1]:.2f}, at Q = 100 {spreads[2]:.2f}; at Q = 0 with sizes counted "
        f"without embeddings {without_embeddings:.2f}.",
    )


@released("C21", again=True)
def compare_reasoning(evidence: Evidence) -> Finding:
    gains = _measure_gains(evidence.reasoning)
    return Finding(gains[2] - gains[0], note=f"Gains over 0.5B/576: {_list_gains(gains)}.")


@released("C23", again=True)
def compare_ocr(evidence: Evidence) -> Finding:
    gains = _measure_gains(evidence.ocr)
    lower = [b < a for a, b in itertools.combinations(gains, 2)]
    return Finding(float(np.mean(lower)), note=f"Gains over 0.5B/576: {_list_gains(gains)}.")


@released("C30", again=True)
def optimize_ocr(evidence: Evidence) -> Finding:
    suite = evidence.ocr
    won = [_count_trades(suite.points, q) for q in (0, 50)]
    return _find_optimum(
        suite,
        50,
        "alpha < beta: error falls in V at any fixed cost. Of the measured trades of tokens for a larger "
        f"LLM {won[0][0]} of {won[0][1]} help at Q = 0, {won[1][0]} of {won[1][1]} at Q = 50. With the "
        "four sizes there are, a budget below that of 0.5B/576 still forces fewer tokens.",
    )


@released("C55", again=True)
def find_largest_count(evidence: Evidence) -> Finding:
    front = _select_front(evidence.reasoning, 50)
    largest = front["n_params_b"].max()
    return Finding(
        front[front["n_params_b"] < largest]["visual_tokens"].max(),
        note=f"Measured Pareto front at Q = 50: {_list_cells(front)}. At Q = 0 all but the largest LLM "
        "have one token on it.",
    )


def _choose_tested(laws: pd.DataFrame, counts: Floats) -> Floats:
    """Return the best of `counts` at Q = 50 by each law."""
    alpha, beta = laws[["alpha", "beta"]].to_numpy(float).T[..., None]
    return counts[np.argmin(alpha * np.log(50 + counts) - beta * np.log(counts), axis=1)]


def _select_front(suite: Suite, text_tokens: float) -> pd.DataFrame:
    points = suite.points
    cost = prefill_gflops(points["n_params_b"], points["visual_tokens"], text_tokens)
    return points.iloc[pareto_front(cost, points["error"])]


def _list_cells(cells: pd.DataFrame) -> str:
    pairs = cells[["n_params_b", "visual_tokens"]].itertuples(index=False)
    return ", ".join(f"{n:g}B/{v}" for n, v in pairs)


def _count_trades(points: pd.DataFrame, text_tokens: float) -> tuple[int, int]:
    """Count the pairs whose larger LLM has no more tokens and cost: how many err less, and all."""
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


def _measure_gains(suite: Suite) -> list[float]:
    """Return the change of score of Fig 4's cells from its reference cell, in percent."""
    reference = suite.score(*_REFERENCE)
    return [100 * (suite.score(n, v) / reference - 1) for n, v in ABOUT_EQUAL]


def _list_gains(gains: list[float]) -> str:
    cells = zip(ABOUT_EQUAL, gains, strict=True)
    return ", ".join(f"{n:g}B/{v} {gain:+.2f} %" for (n, v), gain in cells)


def _interpolate_crossover(
    points: pd.DataFrame, small_b: float, large_b: float, text_tokens: float
) -> tuple[float, float, float]:
    """Return the tokens of the larger and the smaller LLM, and the cost, where their errors meet."""
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
