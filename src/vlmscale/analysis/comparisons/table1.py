"""A table of compression methods beside an uncompressed reference: gaps closed, ranks, wins.

Its cells have the columns group, method, visual_tokens, benchmark and score (higher is better). Methods
are compared within a group, a block of about as many visual tokens; the reference stands in a group of
its own. A cell that was not reported is left out or missing, never zero. Scores are taken as printed:
without repeats a difference in the last digit says little.
"""

import pandas as pd

from vlmscale.errors import UserError

COLUMNS = ("group", "method", "visual_tokens", "benchmark", "score")
REFERENCE = "LLaVA-1.5"


def measure_gaps(table: pd.DataFrame, *, method: str, reference: str = REFERENCE) -> pd.DataFrame:
    """Measure how far `method` goes from its best rival to the reference, by group and benchmark.

    Columns group, benchmark, score (of `method`), rank (in its group, 1 is best, ties share the better
    one), rival (the best other method of the group; of equal ones the first), rival_score,
    reference_score, gap_closed_percent: 100 (score - rival) / (reference - rival), negative where the
    rival is ahead, missing where the rival is not below the reference.
    """
    cells = _cells(table, method, reference)
    by = ["group", "benchmark"]
    compared = cells[cells["method"] != reference]
    rank = compared.groupby(by)["score"].rank(method="min", ascending=False).astype(int)
    mine = compared.assign(rank=rank)[compared["method"] == method]
    others = compared[compared["method"] != method]
    best = others.loc[others.groupby(by)["score"].idxmax(), [*by, "method", "score"]]
    best = best.rename(columns={"method": "rival", "score": "rival_score"})
    merged = mine[[*by, "score", "rank"]].merge(best, on=by, how="left")
    merged["reference_score"] = merged["benchmark"].map(_scores(cells, reference))
    gap = merged["reference_score"] - merged["rival_score"]
    closed = 100 * (merged["score"] - merged["rival_score"]) / gap.where(gap > 0)
    return merged.assign(gap_closed_percent=closed)


def pivot_scores(table: pd.DataFrame, *, reference: str = REFERENCE) -> pd.DataFrame:
    """Return one row per (group, method, visual_tokens), one column per benchmark, in table order.

    Beside them relative_percent, the mean of 100 (score - reference) / reference over the benchmarks
    that both report (negative below the reference, missing for the reference itself), and
    benchmarks_compared, their number. Means over different benchmarks do not compare.
    """
    cells = _cells(table, reference)
    rows = ["group", "method", "visual_tokens"]
    printed = cells.pivot(index=rows, columns="benchmark", values="score")
    printed = printed.reindex(
        index=pd.MultiIndex.from_frame(cells[rows].drop_duplicates()),
        columns=pd.Index(cells["benchmark"].unique()),
    )
    against = _scores(cells, reference).reindex(printed.columns)
    relative = 100 * (printed / against - 1)
    is_reference = printed.index.get_level_values("method") == reference
    printed["relative_percent"] = relative.mean(axis=1).mask(is_reference)
    printed["benchmarks_compared"] = relative.notna().sum(axis=1)
    return printed.reset_index()


def count_wins(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """Count how often `method` scores above each other method of its group, over shared benchmarks.

    Columns group, rival, wins, ties, comparisons; losses are the rest. A rival without a common benchmark
    has no row.
    """
    cells = _cells(table, method)
    mine = cells.loc[cells["method"] == method, ["group", "benchmark", "score"]]
    others = cells[cells["method"] != method].rename(columns={"method": "rival"})
    pairs = mine.merge(others, on=["group", "benchmark"], suffixes=("", "_rival"))
    pairs["wins"] = pairs["score"] > pairs["score_rival"]
    pairs["ties"] = pairs["score"] == pairs["score_rival"]
    counts = pairs.groupby(["group", "rival"], sort=False)
    return counts.agg(
        wins=("wins", "sum"), ties=("ties", "sum"), comparisons=("wins", "size")
    ).reset_index()


def _cells(table: pd.DataFrame, *methods: str) -> pd.DataFrame:
    """Return the reported cells; raise UserError unless they can be compared and hold `methods`."""
    for column in COLUMNS:
        if column not in table:
            raise UserError(f"table: column {column!r} is missing; needed are {', '.join(COLUMNS)}")
    cells = table.dropna(subset=["score"]).reset_index(drop=True)
    twice = cells[cells.duplicated(["group", "method", "benchmark"])]
    if len(twice):
        first = twice.iloc[0]
        raise UserError(
            f"table: {first['method']} has two scores on {first['benchmark']} in group "
            f"{first['group']}; leave one, or give the other a group of its own"
        )
    for method in methods:
        if method not in set(cells["method"]):
            raise UserError(
                f"table: no score of {method!r}; it has {', '.join(cells['method'].unique())}"
            )
    return cells


def _scores(cells: pd.DataFrame, reference: str) -> pd.Series:
    """Return the scores of `reference`, indexed by benchmark."""
    mine = cells[cells["method"] == reference]
    if mine["group"].nunique() > 1:
        raise UserError(f"table: the reference {reference!r} stands in several groups; leave one")
    return mine.set_index("benchmark")["score"]
