"""Checks of whether a study's models learned at all; a study that fails here tests no hypothesis.

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

from vlmscale.analysis.checks.engine import require_columns
from vlmscale.errors import UserError
from vlmscale.study.selection import FULL

BLIND = "blind"  # the method that sees no image
ABOVE_CHANCE = 0.05  # of score: what the words of a question may add to a constant answer
STANDARD_ERRORS = 3.0  # chance alone exceeds them once in several hundred benchmarks
COLUMNS = ["check", "budget", "subject", "value", "reference", "holds", "note"]
_NEEDED = {
    "errors": ("run", "llm", "method", "visual_tokens", "budget", "benchmark", "n"),
    "chance": ("benchmark", "chance"),
    "runs": ("run", "stage", "first", "last"),
}
_PARTS = 5  # of a training; its ends are compared, for single steps are noise

_Row = tuple[Any, ...]  # of COLUMNS


def check_learning(
    errors: pd.DataFrame, chance: pd.DataFrame, runs: pd.DataFrame, methods: Sequence[str]
) -> pd.DataFrame:
    """Check what models should have learned: one row a check and subject, columns COLUMNS.

    errors: of tabulate_errors. chance: of tabulate_chance. runs: of summarize_losses. methods: those of
    one law, whose cells are compared with each other. The subject is a benchmark or a run. A check that a
    study has no cells for has no row. Raises UserError for tables that lack a column.
    """
    require_columns({"errors": errors, "chance": chance, "runs": runs}, _NEEDED)
    single = errors[errors["benchmark"] != "mean"]
    cells = single[single["method"].isin(methods)]
    rows = [
        *_check_losses(runs, errors),
        *_check_budgets(cells),
        *_check_blind(single, chance),
        *_check_sizes(cells[cells["family"] == "reasoning"]),
        *_check_tokens(cells[cells["family"] == "ocr"]),
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"holds": bool})


def summarize_losses(trainings: pd.DataFrame) -> pd.DataFrame:
    """Average the first and the last fifth of each training's losses: columns run, stage, first, last.

    trainings: columns run, stage and losses, lists of (step, loss). first and last are missing for a
    training without losses.
    """
    rows = []
    for training in trainings.to_dict("records"):
        losses = np.array([loss for _, loss in training["losses"]], float)
        first = last = np.nan
        if len(losses):
            part = max(1, len(losses) // _PARTS)
            first, last = float(losses[:part].mean()), float(losses[-part:].mean())
        rows.append((training["run"], training["stage"], first, last))
    return pd.DataFrame(rows, columns=["run", "stage", "first", "last"])


def _check_losses(runs: pd.DataFrame, errors: pd.DataFrame) -> Iterator[_Row]:
    budgets = errors.drop_duplicates("run").set_index("run")["budget"]
    for row in runs.to_dict("records"):
        unknown = np.isnan(row["first"]) or np.isnan(row["last"])
        note = "a loss is missing or not a number" if unknown else ""
        subject, falls = f"{row['run']}, {row['stage']}", row["last"] < row["first"]
        about = ("training loss falls", budgets.get(row["run"], ""), subject)
        yield *about, row["last"], row["first"], falls, note


def _check_budgets(cells: pd.DataFrame) -> Iterator[_Row]:
    for less in cells["budget"].unique():
        if less != FULL:
            same = ["llm", "method", "visual_tokens", "seed"]
            table = _contrast(cells, "budget", FULL, less, same)
            note = f"{FULL}, {less}"
            yield from _check_rising("a larger budget scores higher", table, FULL, note)


def _check_sizes(cells: pd.DataFrame) -> Iterator[_Row]:
    for budget, mine in cells.groupby("budget", sort=False):
        llms = mine.drop_duplicates("llm").set_index("n_params_b")["llm"].sort_index()
        if len(llms) > 1:
            large, small = llms.iloc[-1], llms.iloc[0]
            table = _contrast(mine, "llm", large, small, ["method", "visual_tokens", "seed"])
            note = f"{large}, {small}"
            yield from _check_rising("the largest LLM scores higher", table, budget, note)


def _check_tokens(cells: pd.DataFrame) -> Iterator[_Row]:
    for budget, mine in cells.groupby("budget", sort=False):
        most = mine["visual_tokens"].max()
        if most > 1:
            table = _contrast(mine, "visual_tokens", most, 1, ["llm", "seed"])
            note = f"V = {most}, V = 1"
            yield from _check_rising("more tokens score higher", table, budget, note)


def _contrast(
    cells: pd.DataFrame, axis: str, high: Any, low: Any, same: Sequence[str]
) -> pd.DataFrame:
    """Return by benchmark the mean scores at two values of `axis`, over what both have in common."""
    table = cells.pivot_table("score", ["benchmark", *same], axis, sort=False)
    return table.reindex(columns=[high, low]).dropna().groupby("benchmark", sort=False).mean()


def _check_rising(check: str, table: pd.DataFrame, budget: Any, note: str) -> Iterator[_Row]:
    for benchmark, high, low in table.itertuples():
        yield check, budget, benchmark, high, low, high > low, note


def _check_blind(single: pd.DataFrame, chance: pd.DataFrame) -> Iterator[_Row]:
    levels = dict(zip(chance["benchmark"], chance["chance"], strict=True))
    blind = single[single["method"] == BLIND]
    for (budget, benchmark), mine in blind.groupby(["budget", "benchmark"], sort=False):
        if benchmark not in levels:
            raise UserError(f"chance: that of benchmark {benchmark} is unknown; collect again")
        level, score = float(levels[benchmark]), float(mine["score"].mean())
        # All LLMs answer the same questions, so several LLMs are not more questions.
        error = float(np.sqrt(level * (1 - level) / mine["n"].min()))
        allowed = max(ABOVE_CHANCE, STANDARD_ERRORS * error)
        note = f"{score - level:+.3f} from chance; allowed up to {allowed:+.3f}"
        yield "blind is at chance", budget, benchmark, score, level, score - level <= allowed, note
