"""Tidy tables of a study of released VLMs: V is what was counted, and who ignored a budget is in no law."""

from collections.abc import Mapping, Sequence

import pandas as pd

from vlmscale.analysis.collect import (
    Answers,
    check_fingerprints,
    tabulate_chance,
    tabulate_errors,
    tabulate_samples,
)

# Adapters may resize in two steps, which moves single images by a row of tokens; more is another budget.
TOLERANCE = 0.1
IGNORED, REPEATED = "ignored", "repeated"  # roles of cells that are in no law
_KEYS = ["cell", "family", "benchmark"]


def collect_vlms(
    cells: pd.DataFrame,
    answers: Sequence[Answers],
    *,
    fingerprints: Mapping[str, str],
    sizes: Mapping[str, Mapping[str, float]],
) -> dict[str, pd.DataFrame]:
    """Build the tables of a study: errors, samples, chance, visual_tokens.

    They are those of analysis.collect, except that visual_tokens of errors is the counted mean of the
    benchmark, of a family the mean of its benchmarks', in whole tokens; asked_tokens is the budget, and
    role is that of tabulate_visual_tokens. sizes: billions of parameters of each model's LLM
    (non_embedding, total) and tower. fingerprints: by cell, those of the present code. Raises UserError for
    results of other code.
    """
    by_cell = {one.record["cell"]["cell"]: one for one in answers}
    found = {cell: one.record["fingerprint"] for cell, one in by_cell.items()}
    check_fingerprints(found, fingerprints, rule="evaluate_vlm")
    scores = {cell: one.scores for cell, one in by_cell.items()}
    counted = tabulate_visual_tokens(cells, scores)
    errors = tabulate_errors(
        cells,
        scores,
        {"non_embedding": sizes["non_embedding"], "total": sizes["total"]},
        axis="non_embedding",
        protocols={cell: one.record["protocol"] for cell, one in by_cell.items()},
    )
    columns = list(errors)
    errors = errors.drop(columns=["visual_tokens", "role"]).merge(
        counted[[*_KEYS, "asked_tokens", "visual_tokens", "role"]], on=_KEYS, validate="one_to_one"
    )
    errors["tower_b"] = errors["llm"].map(sizes["tower"]).astype(float)
    return {
        "errors": errors[[*columns, "asked_tokens", "tower_b"]],
        "samples": tabulate_samples({cell: one.samples for cell, one in by_cell.items()}, scores),
        "chance": tabulate_chance(answers[0].samples, answers[0].scores),
        "visual_tokens": counted,
    }


def tabulate_visual_tokens(cells: pd.DataFrame, scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what each cell was asked and given, by benchmark and by family (benchmark "mean").

    Columns cell, llm, method, asked_tokens, family, benchmark, expected_tokens, mean_tokens, p05, p95,
    visual_tokens (the mean in whole tokens) and role: that of the cell, or "ignored" where the mean is more
    than TOLERANCE from the expected one, of a family where it is in any of its benchmarks, or "repeated"
    where a smaller budget of the model gave as many tokens. scores: by cell, of evaluate_vlm.
    """
    frames = []
    for cell in cells.sort_values("visual_tokens", kind="stable").to_dict("records"):
        table = scores[cell["cell"]].rename(
            columns={
                "visual_tokens": "mean_tokens",
                "visual_tokens_p05": "p05",
                "visual_tokens_p95": "p95",
            }
        )
        table = table[["family", "benchmark", "expected_tokens", "mean_tokens", "p05", "p95"]]
        table["is_ignored"] = (
            table["mean_tokens"] / table["expected_tokens"] - 1
        ).abs() > TOLERANCE
        means = table.groupby("family", sort=False, as_index=False).agg(
            expected_tokens=("expected_tokens", "mean"),
            mean_tokens=("mean_tokens", "mean"),
            is_ignored=("is_ignored", "any"),
        )
        rows = pd.concat([table, means.assign(benchmark="mean")], ignore_index=True)
        about = {column: cell[column] for column in ("cell", "llm", "method", "role")}
        frames.append(rows.assign(**about, asked_tokens=cell["visual_tokens"]))
    table = pd.concat(frames, ignore_index=True)
    table["visual_tokens"] = table["mean_tokens"].round().clip(lower=1).astype(int)
    heeded = table[~table["is_ignored"]]
    twice = heeded.index[heeded.duplicated(["llm", "family", "benchmark", "visual_tokens"])]
    table.loc[twice, "role"] = REPEATED
    table.loc[table["is_ignored"], "role"] = IGNORED
    columns = ["cell", "llm", "method", "asked_tokens", "family", "benchmark", "expected_tokens"]
    return table[[*columns, "mean_tokens", "p05", "p95", "visual_tokens", "role"]]


def describe_departures(counted: pd.DataFrame) -> list[str]:
    """Return a sentence for each budget that a model ignored or repeated. counted: of the above."""
    lines = []
    for row in counted.to_dict("records"):
        where = f"{row['llm']} at a budget of {row['asked_tokens']}"
        if row["role"] == IGNORED and row["benchmark"] != "mean":
            lines.append(
                f"{where} ignores it: {row['mean_tokens']:.1f} visual tokens on average in "
                f"{row['benchmark']}, where its processor should make {row['expected_tokens']:.1f}. The "
                f"cell is in no law of {row['family']}."
            )
        if row["role"] == REPEATED and row["benchmark"] == "mean":
            lines.append(
                f"{where} gives {row['visual_tokens']} visual tokens in {row['family']}, as a smaller "
                "budget did: its images need no more. The cell is in no law of that family."
            )
    return lines
