"""Did the models of a study learn what models should? A study that fails here tests no hypothesis.

| check                         | value                                     | reference                 |
|-------------------------------|-------------------------------------------|---------------------------|
| training loss falls           | mean loss of the last fifth of a run      | of its first, to be above |
| a larger budget scores higher | mean score of cells trained in full       | of the same, trained less |
| blind is at chance            | mean score without an image               | of a constant answer      |
| the largest LLM scores higher | its mean score on a reasoning benchmark   | the smallest LLM's        |
| more tokens score higher      | mean score on an ocr benchmark, largest V | at V = 1                  |
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.errors import UserError
from vlmscale.study.selection import FULL

BLIND = "blind"  # the method that sees no image
ABOVE_CHANCE = 0.05  # of score: what the words of a question may add to a constant answer
STANDARD_ERRORS = 3.0  # luck alone goes beyond them once in several hundred benchmarks
COLUMNS = ["check", "budget", "subject", "value", "reference", "holds", "note"]
_PARTS = 5  # of a training; its ends are compared, for single steps are noise


def check_learning(
    errors: pd.DataFrame, chance: pd.DataFrame, runs: pd.DataFrame, methods: Sequence[str]
) -> pd.DataFrame:
    """One row for each check and its subject, a benchmark or a run; columns COLUMNS.

    errors: of tabulate_errors. chance: of tabulate_chance. runs: of summarize_losses. methods: those of one
    law, whose cells are compared with each other. A check that a study has no cells for has no row.
    Raises UserError for tables that lack a column.
    """
    for name, table, columns in (
        ("errors", errors, ("run", "llm", "method", "visual_tokens", "budget", "benchmark", "n")),
        ("chance", chance, ("benchmark", "chance")),
        ("runs", runs, ("run", "stage", "first", "last")),
    ):
        for column in columns:
            if column not in table:
                raise UserError(f"table {name}: column {column!r} is missing; make it again")
    single = errors[errors["benchmark"] != "mean"]
    cells = single[single["method"].isin(methods)]
    rows = [
        *_losses(runs, errors),
        *_budgets(cells),
        *_blind(single, chance),
        *_sizes(cells[cells["family"] == "reasoning"]),
        *_tokens(cells[cells["family"] == "ocr"]),
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"holds": bool})


def summarize_losses(trainings: pd.DataFrame) -> pd.DataFrame:
    """Mean loss of the first and the last fifth of each training: columns run, stage, first, last.

    trainings: columns run, stage and losses, lists of (step, loss). Both are missing where none is
    recorded.
    """
    rows = []
    for training in trainings.to_dict("records"):
        losses = np.array([loss for _, loss in training["losses"]], float)
        ends = [np.nan, np.nan]
        if len(losses):
            part = max(1, len(losses) // _PARTS)
            ends = [float(losses[:part].mean()), float(losses[-part:].mean())]
        about = {"run": training["run"], "stage": training["stage"]}
        rows.append({**about, "first": ends[0], "last": ends[1]})
    return pd.DataFrame(rows, columns=["run", "stage", "first", "last"])


def _losses(runs: pd.DataFrame, errors: pd.DataFrame) -> Iterator[dict[str, Any]]:
    budgets = errors.drop_duplicates("run").set_index("run")["budget"]
    for row in runs.to_dict("records"):
        unknown = np.isnan(row["first"]) or np.isnan(row["last"])
        yield {
            "check": "training loss falls",
            "budget": budgets.get(row["run"], ""),
            "subject": f"{row['run']}, {row['stage']}",
            "value": row["last"],
            "reference": row["first"],
            "holds": row["last"] < row["first"],
            "note": "a loss is missing or not a number" if unknown else "",
        }


def _budgets(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    same = ["llm", "method", "visual_tokens", "seed"]
    for less in cells["budget"].unique():
        if less != FULL:
            rows = _contrast(cells, "budget", FULL, less, same)
            yield from _rising("a larger budget scores higher", rows, FULL, f"{FULL}, {less}")


def _sizes(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for budget, mine in cells.groupby("budget", sort=False):
        llms = mine.drop_duplicates("llm").set_index("n_params_b")["llm"].sort_index()
        if len(llms) > 1:
            large, small = llms.iloc[-1], llms.iloc[0]
            rows = _contrast(mine, "llm", large, small, ["method", "visual_tokens", "seed"])
            yield from _rising("the largest LLM scores higher", rows, budget, f"{large}, {small}")


def _tokens(cells: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for budget, mine in cells.groupby("budget", sort=False):
        most = mine["visual_tokens"].max()
        if most > 1:
            rows = _contrast(mine, "visual_tokens", most, 1, ["llm", "seed"])
            yield from _rising("more tokens score higher", rows, budget, f"V = {most}, V = 1")


def _contrast(
    cells: pd.DataFrame, axis: str, high: Any, low: Any, same: Sequence[str]
) -> pd.DataFrame:
    """By benchmark the mean scores at two values of `axis`, over what both have in common."""
    table = cells.pivot_table(
        index=["benchmark", *same], columns=axis, values="score", sort=False
    ).reindex(columns=[high, low])
    return table.dropna().groupby("benchmark", sort=False).mean()


def _rising(check: str, rows: pd.DataFrame, budget: Any, note: str) -> Iterator[dict[str, Any]]:
    for benchmark, high, low in rows.itertuples():
        yield {
            "check": check,
            "budget": budget,
            "subject": benchmark,
            "value": high,
            "reference": low,
            "holds": high > low,
            "note": note,
        }


def _blind(single: pd.DataFrame, chance: pd.DataFrame) -> Iterator[dict[str, Any]]:
    levels = dict(zip(chance["benchmark"], chance["chance"], strict=True))
    blind = single[single["method"] == BLIND]
    for (budget, benchmark), mine in blind.groupby(["budget", "benchmark"], sort=False):
        if benchmark not in levels:
            raise UserError(f"chance: that of benchmark {benchmark} is unknown; collect again")
        level, score = float(levels[benchmark]), float(mine["score"].mean())
        # All LLMs answer the same questions, so several of them are not more questions.
        error = float(np.sqrt(level * (1 - level) / mine["n"].min()))
        allowed = max(ABOVE_CHANCE, STANDARD_ERRORS * error)
        yield {
            "check": "blind is at chance",
            "budget": budget,
            "subject": benchmark,
            "value": score,
            "reference": level,
            "holds": score - level <= allowed,
            "note": f"{score - level:+.3f} from chance; allowed up to {allowed:+.3f}",
        }
