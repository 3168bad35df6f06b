"""The latency table that studies, benchmarks/latency.py and `vlmscale recommend` share.

One row a case. Columns: llm, n_params_b, method, visual_tokens, text_tokens, cached_text, batch, skipped
(why the case was not measured, else ""), repetitions, matmul_gflops_per_s (of a large matrix product), and
for each part in PARTS, for the whole batch:

    {part}_ms      median over repetitions; missing if the case lacks this part
    {part}_iqr_ms  interquartile range
    {part}_gflops  predicted by vlmscale.costs.flops
    {part}_ratio   {part}_ms over the time its FLOPs take at matmul_gflops_per_s
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from vlmscale.analysis.laws.columns import check_complete, check_whole, rename_heads, to_numbers
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.errors import UserError

#   latency     time to first token, from pixels
#   tower       the vision tower (and the projector, if it runs the tower itself)
#   compressor  the projector: tower features to visual tokens
#   text        an LLM pass over the new question, for projectors that read the question
#   prefill     the LLM's pass over the prompt
#   decode      the LLM's pass for one generated token
PARTS = ("latency", "tower", "compressor", "text", "prefill", "decode")
_NUMBERS = ("n_params_b", "visual_tokens", "text_tokens", "batch", "latency_ms", "decode_ms")
CASE = ["llm", "method", "visual_tokens", "text_tokens", "batch"]


def summarize_times(
    times: Sequence[Mapping[str, float]], gflops: Mapping[str, float], matmul_gflops_per_s: float
) -> dict[str, float]:
    """Return one case's columns. times: per repetition, part -> milliseconds; empty if skipped."""
    row: dict[str, float] = {"repetitions": len(times), "matmul_gflops_per_s": matmul_gflops_per_s}
    for part in PARTS:
        taken = [found[part] for found in times if part in found]
        low, middle, high = np.quantile(taken, [0.25, 0.5, 0.75]) if taken else [np.nan] * 3
        foreseen = 1e3 * gflops[part] / matmul_gflops_per_s
        row |= {
            f"{part}_ms": middle,
            f"{part}_iqr_ms": high - low,
            f"{part}_gflops": gflops[part],
            f"{part}_ratio": middle / foreseen if foreseen else np.nan,
        }
    return row


def compare_cached_text(table: pd.DataFrame) -> pd.DataFrame:
    """Compare prefill with and without cached text, one row per case measured both ways.

    Columns CASE; new_ms and cached_ms, prefill time without and with the cache; time_saved and flops_saved,
    the share that caching saves; kept_ratio, cached_ms over new_ms scaled by FLOPs.
    """
    measured = table[(table["text_tokens"] > 0) & (table["skipped"] == "")]
    values = ["prefill_ms", "prefill_gflops"]
    new, cached = (
        measured[measured["cached_text"] == kind][[*CASE, *values]] for kind in (False, True)
    )
    both = new.merge(cached, on=CASE, suffixes=("_new", "_cached"), validate="one_to_one")
    time = both["prefill_ms_cached"] / both["prefill_ms_new"]
    flops = both["prefill_gflops_cached"] / both["prefill_gflops_new"]
    return both[CASE].assign(
        new_ms=both["prefill_ms_new"],
        cached_ms=both["prefill_ms_cached"],
        time_saved=1 - time,
        flops_saved=1 - flops,
        kept_ratio=time / flops,
    )


def compare_token_counts(table: pd.DataFrame, *, text_tokens: int) -> pd.DataFrame:
    """Compare the speed-up from an LLM's largest V to V = 1 in FLOPs and in time, text cached.

    One row per LLM and method measured at V = 1, batch 1. Columns llm, method, most_tokens (largest V);
    flops_fall, prefill_fall and latency_fall, the factors by which 2 N V, prefill time and latency fall;
    tower_share, the tower's share of the latency at V = 1.
    """
    times = select_latencies(
        table, methods=(), text_tokens=text_tokens, generated_tokens=0, cached_text=True
    )
    most = times.sort_values("visual_tokens").groupby("llm", sort=False).tail(1)
    one = times[times["visual_tokens"] == 1].merge(most, on="llm", suffixes=("", "_most"))
    return pd.DataFrame(
        {
            "llm": one["llm"],
            "method": one["method"],
            "most_tokens": one["visual_tokens_most"],
            "flops_fall": one["visual_tokens_most"].astype(float),
            "prefill_fall": one["prefill_ms_most"] / one["prefill_ms"],
            "latency_fall": one["latency_ms_most"] / one["latency_ms"],
            "tower_share": one["tower_ms"] / one["latency_ms"],
        }
    )


def clean_latencies(
    table: pd.DataFrame, where: str, *, methods: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a user's table of latencies with numbers in its columns of numbers; heads as of clean_points.

    methods: those that will be chosen, needed where the table has several. Raises UserError, which begins
    with `where`, for missing columns and labels and for what is no number.
    """
    table = rename_heads(table, (*_NUMBERS, "cached_text", "skipped"), where)
    lacking = [c for c in ("llm", "visual_tokens", "latency_ms") if c not in table]
    if lacking:
        raise UserError(
            f"{where}: column {lacking[0]!r} is missing; needed are llm, visual_tokens, latency_ms. The "
            f"table has: {', '.join(ascii(str(c))[1:-1] for c in table.columns[:12])}"
        )
    if "skipped" in table:
        table = table[table["skipped"].fillna("") == ""]  # CSV reads "" back as NaN
    if "cached_text" in table and not table["cached_text"].isin([False, True]).all():
        raise UserError(f"{where}: column 'cached_text' must hold true or false")
    check_complete(table, where)
    if "method" in table and table["method"].nunique() > 1 and not methods:
        listed = ", ".join(sorted(table["method"].astype(str).unique()))
        raise UserError(
            f"{where}: latencies of several methods, {listed}, are those of none; choose with --methods"
        )
    given = [column for column in _NUMBERS if column in table]
    table = table.assign(**{column: to_numbers(table[column], where) for column in given})
    for column in ("visual_tokens", "text_tokens"):
        if column in table:
            check_whole(table[column], where)
    return table


def select_latencies(
    table: pd.DataFrame,
    *,
    methods: Sequence[str],
    text_tokens: int,
    generated_tokens: int,
    cached_text: bool,
) -> pd.DataFrame:
    """Return the batch-1 rows of a latency table for one kind of question, for interpolate_cost.

    Does not filter by a column (method, text_tokens, cached_text, batch) that the table lacks. methods:
    empty means all. If the table has decode_ms, adds the decoding of generated_tokens to latency_ms.
    Raises UserError, naming the measured values, if no row is left.
    """
    if "skipped" in table:
        table = table[table["skipped"].fillna("") == ""]  # CSV reads "" back as NaN
    wanted: dict[str, Sequence[str | int | bool]] = {
        "method": methods,
        "batch": [1],
        "text_tokens": [text_tokens],
        "cached_text": [cached_text or text_tokens == 0],
    }
    for column, values in wanted.items():
        if column not in table or not values:
            continue
        mine = table[table[column].isin(values)]
        if mine.empty:
            known = sorted(table[column].unique().tolist())
            there = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in known)
            asked = ", ".join(map(str, values))
            raise UserError(f"latency table: no row has {column} {asked}. There are: {there}.")
        table = mine
    if "decode_ms" not in table:
        return table
    return table.assign(latency_ms=table["latency_ms"] + generated_tokens * table["decode_ms"])


def join_latency(errors: pd.DataFrame, latency: pd.DataFrame, *, text_tokens: int) -> pd.DataFrame:
    """Join each cell's error with its measured latency and with 2 N V, text cached.

    errors: family means at one training budget, columns llm, method, visual_tokens, n_params_b, family,
    error; averages seeds, skips cells without a latency. Adds columns gflops (2 N V), latency_ms,
    tower_share (of the latency) and surprise: FLOPs reduction over latency reduction, both relative to
    the LLM's cell with most FLOPs; 1 where time falls as FLOPs do.
    """
    cell = ["llm", "method", "visual_tokens"]
    means = errors.groupby([*cell, "n_params_b", "family"], sort=False)["error"].mean()
    times = select_latencies(
        latency, methods=(), text_tokens=text_tokens, generated_tokens=0, cached_text=True
    )
    table = means.reset_index().merge(
        times[[*cell, "latency_ms", "tower_ms"]], on=cell, validate="many_to_one"
    )
    table["gflops"] = prefill_gflops(table["n_params_b"], table["visual_tokens"], 0)
    table["tower_share"] = table.pop("tower_ms") / table["latency_ms"]
    dearest = table.loc[table.groupby("llm")["gflops"].transform("idxmax")]
    time = table["latency_ms"].to_numpy() / dearest["latency_ms"].to_numpy()
    table["surprise"] = time * dearest["gflops"].to_numpy() / table["gflops"].to_numpy()
    return table
