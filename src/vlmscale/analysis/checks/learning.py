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

from vlmscale.analysis.checks.engine import (
    ABOVE_REFERENCE,
    BELOW_REFERENCE,
    Claim,
    Finding,
    Rule,
    Verdict,
    exceeds_by_at_most,
    require_columns,
    tabulate_claims,
)
from vlmscale.errors import UserError
from vlmscale.study.selection import FULL

BLIND = "blind"  # the method that sees no image
ABOVE_CHANCE = 0.05  # of score: what the words of a question may add to a constant answer
STANDARD_ERRORS = 3.0  # chance alone exceeds them once in several hundred benchmarks
_COLUMNS = {
    **{"check": "text", "budget": "budget", "subject": "subject"},
    **{"value": "value", "reference": "reference", "holds": "verdict", "note": "note"},
}
COLUMNS = list(_COLUMNS)
_PARTS = 5  # of a training; its ends are compared, for single steps are noise

_Row = dict[str, Any]


def check_learning(
    errors: pd.DataFrame, chance: pd.DataFrame, runs: pd.DataFrame, methods: Sequence[str]
) -> pd.DataFrame:
    """Check what models should have learned: one row a check and subject, columns COLUMNS.

    errors: of tabulate_errors. chance: of tabulate_chance. runs: of summarize_losses. methods: those of
    one law, whose cells are compared with each other. The subject is a benchmark or a run. A check that a
    study has no cells for has no row. Raises UserError for tables that lack a column.
    """
    for name, table, columns in (
        ("errors", errors, ("run", "llm", "method", "visual_tokens", "budget", "benchmark", "n")),
        ("chance", chance, ("benchmark", "chance")),
        ("runs", runs, ("run", "stage", "first", "last")),
    ):
        require_columns(name, table, columns)
    single = errors[errors["benchmark"] != "mean"]
    cells = single[single["method"].isin(methods)]
    rows = [
        *_check_losses(runs, errors),
        *_check_budgets(cells),
        *_check_blind(single, chance),
        *_check_sizes(cells[cells["family"] == "reasoning"]),
        *_check_tokens(cells[cells["family"] == "ocr"]),
    ]
    table = tabulate_claims(rows, _COLUMNS, verdict=lambda found: found is Verdict.HOLDS)
    return table.astype({"holds": bool})


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
        finding = Finding(row["last"], reference=row["first"], note=note)
        subject = f"{row['run']}, {row['stage']}"
        yield _LOSS_FALLS.check(finding, budget=budgets.get(row["run"], ""), subject=subject)


def _check_budgets(cells: pd.DataFrame) -> Iterator[_Row]:
    same = ["llm", "method", "visual_tokens", "seed"]
    for less in cells["budget"].unique():
        if less != FULL:
            rows = _contrast(cells, "budget", FULL, less, same)
            yield from _check_rising(_BUDGETS_HELP, rows, FULL, f"{FULL}, {less}")


def _check_sizes(cells: pd.DataFrame) -> Iterator[_Row]:
    for budget, mine in cells.groupby("budget", sort=False):
        llms = mine.drop_duplicates("llm").set_index("n_params_b")["llm"].sort_index()
        if len(llms) > 1:
            large, small = llms.iloc[-1], llms.iloc[0]
            rows = _contrast(mine, "llm", large, small, ["method", "visual_tokens", "seed"])
            yield from _check_rising(_SIZES_HELP, rows, budget, f"{large}, {small}")


def _check_tokens(cells: pd.DataFrame) -> Iterator[_Row]:
    for budget, mine in cells.groupby("budget", sort=False):
        most = mine["visual_tokens"].max()
        if most > 1:
            rows = _contrast(mine, "visual_tokens", most, 1, ["llm", "seed"])
            yield from _check_rising(_TOKENS_HELP, rows, budget, f"V = {most}, V = 1")


def _contrast(
    cells: pd.DataFrame, axis: str, high: Any, low: Any, same: Sequence[str]
) -> pd.DataFrame:
    """Return by benchmark the mean scores at two values of `axis`, over what both have in common."""
    table = cells.pivot_table(
        index=["benchmark", *same], columns=axis, values="score", sort=False
    ).reindex(columns=[high, low])
    return table.dropna().groupby("benchmark", sort=False).mean()


def _check_rising(
    claim: Claim[Finding], rows: pd.DataFrame, budget: Any, note: str
) -> Iterator[_Row]:
    for benchmark, high, low in rows.itertuples():
        finding = Finding(high, reference=low, note=note)
        yield claim.check(finding, budget=budget, subject=benchmark)


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
        claim = _claim("blind is at chance", exceeds_by_at_most(allowed))
        finding = Finding(score, reference=level, note=note)
        yield claim.check(finding, budget=budget, subject=benchmark)


def _claim(text: str, rule: Rule) -> Claim[Finding]:
    """Make a check whose finding is at hand."""
    return Claim("", text, rule, lambda finding: finding)


_LOSS_FALLS = _claim("training loss falls", BELOW_REFERENCE)
_BUDGETS_HELP = _claim("a larger budget scores higher", ABOVE_REFERENCE)
_SIZES_HELP = _claim("the largest LLM scores higher", ABOVE_REFERENCE)
_TOKENS_HELP = _claim("more tokens score higher", ABOVE_REFERENCE)
