"""Measured latencies: one table for studies, for benchmarks/latency.py and for `vlmscale recommend`.

One row a case: llm, n_params_b, method, visual_tokens, text_tokens, cached_text, batch, skipped (why a
case was left out, else ""), repetitions, matmul_gflops_per_s (what the device reaches on a product of
large matrices), and of each part in PARTS, for the batch as a whole,

    {part}_ms      median over repetitions; missing where there is no such part
    {part}_iqr_ms  distance of the quartiles
    {part}_gflops  by vlmscale.costs.flops
    {part}_ratio   {part}_ms over what its FLOPs take at matmul_gflops_per_s
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from vlmscale.costs.flops import prefill_gflops
from vlmscale.errors import UserError

#   latency     all of it, from pixels to the first token of the answer
#   tower       the vision tower (with the projector, where that runs the tower again)
#   compressor  from the tower's features to visual tokens
#   text        the LLM's pass over a new question, for a projector that reads it
#   prefill     the LLM's pass over the prompt
#   decode      a pass over a generated token
PARTS = ("latency", "tower", "compressor", "text", "prefill", "decode")
CASE = ["llm", "method", "visual_tokens", "text_tokens", "batch"]


def summarize_times(
    times: Sequence[Mapping[str, float]],
    gflops: Mapping[str, float],
    matmul_gflops_per_s: float,
) -> dict[str, float]:
    """Return the columns of a case. times: milliseconds of each part, by repetition; empty if skipped."""
    row: dict[str, float] = {
        "repetitions": len(times),
        "matmul_gflops_per_s": matmul_gflops_per_s,
    }
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

    Columns CASE; new_ms, cached_ms; time_saved and flops_saved, the shares of the new text's prefill that
    the cached one's does without; kept_ratio, cached_ms over what FLOPs leave of new_ms.
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
    """Compare how far FLOPs and time fall from an LLM's most visual tokens to one, text cached.

    One row an LLM and method with V = 1, for single images. Columns llm, method, most_tokens; flops_fall,
    of 2 N V, which is most_tokens; prefill_fall and latency_fall, of measured time; tower_share, of the
    latency at V = 1.
    """
    times = select_latencies(
        table, methods=(), text_tokens=text_tokens, generated_tokens=0, cached_text=True
    )
    rows = []
    for llm, mine in times.groupby("llm", sort=False):
        most = mine.sort_values("visual_tokens").iloc[-1]
        for one in mine[mine["visual_tokens"] == 1].to_dict("records"):
            rows.append(
                {
                    "llm": llm,
                    "method": one["method"],
                    "most_tokens": int(most["visual_tokens"]),
                    "flops_fall": float(most["visual_tokens"]),
                    "prefill_fall": most["prefill_ms"] / one["prefill_ms"],
                    "latency_fall": most["latency_ms"] / one["latency_ms"],
                    "tower_share": one["tower_ms"] / one["latency_ms"],
                }
            )
    return pd.DataFrame(rows)


def select_latencies(
    table: pd.DataFrame,
    *,
    methods: Sequence[str],
    text_tokens: int,
    generated_tokens: int,
    cached_text: bool,
) -> pd.DataFrame:
    """Return the rows of a latency table for one kind of question, as interpolate_cost takes them.

    A column method, text_tokens, cached_text or batch that the table lacks selects nothing. methods: empty
    means all. With a column decode_ms, latency_ms becomes that of the whole answer.
    Raises UserError, with what there is, when nothing was measured so.
    """
    if "skipped" in table:
        table = table[table["skipped"].fillna("") == ""]  # a CSV file knows no empty text
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
            there = ", ".join(map(str, sorted(table[column].unique().tolist())))
            asked = ", ".join(map(str, values))
            raise UserError(f"latency table: no row has {column} {asked}. There are: {there}.")
        table = mine
    if "decode_ms" in table:
        decoding = generated_tokens * table["decode_ms"]
        table = table.assign(latency_ms=table["latency_ms"] + decoding)
    return table


def join_latency(errors: pd.DataFrame, latency: pd.DataFrame, *, text_tokens: int) -> pd.DataFrame:
    """Join each cell's error with its measured latency and with 2 N V, text cached.

    errors: family means of one budget, columns llm, method, visual_tokens, n_params_b, family, error;
    seeds are averaged. Columns llm, method, visual_tokens, n_params_b, family, error; gflops, 2 N V;
    latency_ms; tower_share of it; surprise, by what factor latency falls less than FLOPs do from the LLM's
    point of most FLOPs. A cell whose latency was not measured is left out.
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
