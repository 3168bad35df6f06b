"""The grid of a study: its cells, which are the points of the law, and the training runs that serve them.

A run is (LLM, method, V, seed, budget) as trained, a cell the same five as evaluated. One run can serve
several cells, as a method's file declares (Variant.find_training). Runs that differ only in their budget
share stage 1. `method` is the name that the study gives to a variant.
"""

import csv
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Literal

from vlmscale.errors import UserError
from vlmscale.records.files import atomic_path
from vlmscale.study.schema import Study
from vlmscale.study.selection import FULL, Selection, append_budget


@dataclass(frozen=True)
class Run:
    """A training run with the id `run`."""

    run: str
    llm: str
    method: str
    visual_tokens: int
    seed: int
    budget: str

    @property
    def stage1(self) -> str:
        """The id of its stage 1, which no budget changes: the id of the run with the full budget."""
        return make_id(self.llm, self.method, self.visual_tokens, self.seed, FULL)


@dataclass(frozen=True)
class Cell:
    """A point of the law with the id `cell`: the run `run`, evaluated with `method` at `visual_tokens`."""

    cell: str
    run: str
    llm: str
    method: str
    visual_tokens: int
    seed: int
    budget: str
    role: Literal["fit", "holdout"]


def make_id(llm: str, method_name: str, visual_tokens: int, seed: int, budget: str) -> str:
    """Return the id of a run or a cell, for people and paths; nothing parses it."""
    return append_budget(f"{llm}__{method_name}__v{visual_tokens}__s{seed}", budget, "__")


def expand_grid(study: Study) -> tuple[dict[str, Cell], dict[str, Run]]:
    """Return cells and runs by id. Raises UserError for a duplicate cell or an empty grid."""
    cells: dict[str, Cell] = {}
    runs: dict[str, Run] = {}
    excluded = [rule.model_dump(exclude_none=True).items() for rule in study.exclude]
    unused = set(range(len(excluded)))
    for block in study.grid:
        for evaluated in product(
            block.llms, block.methods, block.visual_tokens, block.seeds, block.budgets
        ):
            llm, name, tokens, seed, budget = evaluated
            server = study.find_variant(name).find_training(tokens, study.tower_shape.grid_side)
            trained = (llm, *server, seed, budget)
            run = Run(make_id(*trained), *trained)
            role: Literal["fit", "holdout"] = "holdout" if llm in study.laws.holdout else "fit"
            cell = Cell(make_id(*evaluated), run.run, *evaluated, role)
            matching = [i for i, axes in enumerate(excluded) if axes <= asdict(cell).items()]
            if matching:
                unused.difference_update(matching)
                continue
            if cell.cell in cells:
                raise UserError(f"grid: cell {cell.cell} is listed twice. Remove one.")
            if runs.setdefault(run.run, run) != run:
                raise UserError(
                    f"grid: two trainings would be called {run.run}. Rename an LLM or method."
                )
            cells[cell.cell] = cell
    if unused:
        raise UserError(
            f"exclude.{min(unused)}: no cell of the grid matches. Correct or remove it."
        )
    if not cells:
        raise UserError("grid: every cell is excluded. Loosen `exclude`.")
    return cells, runs


def list_stage1_trainings(runs: Iterable[Run]) -> dict[str, Run]:
    """Return the id of each stage 1 -> the first of the runs that start from it."""
    trainings: dict[str, Run] = {}
    for run in runs:
        trainings.setdefault(run.stage1, run)
    return trainings


def list_laws(study: Study, cells: Collection[Cell]) -> dict[str, Selection]:
    """Return name -> cells of each law: one for each series and each budget whose cells determine it.

    A law needs four fitted cells, of two LLMs and two V. Raises UserError for a series without a law
    and for two laws of one name.
    """
    laws: dict[str, Selection] = {}
    for series, methods in study.laws.series.items():
        fitted: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.role == "fit" and cell.method in methods:
                fitted.setdefault(cell.budget, []).append(cell)
        if not fitted:
            raise UserError(f"laws.series.{series}: `exclude` leaves none of its cells to fit.")
        determined = [budget for budget, mine in fitted.items() if _determine_a_law(mine)]
        if not determined:
            raise UserError(
                f"laws.series.{series}: no law can be fitted on its cells. A law needs four that are not "
                "held out, of two LLMs and two visual_tokens. Add cells, or remove the series: a "
                "study that compares methods needs none."
            )
        for budget in determined:
            name = append_budget(series, budget, "_")
            if name in laws:
                raise UserError(
                    f"laws.series.{series}: its law at budget {budget} and another are both called "
                    f"{name}. Rename the budget or a series."
                )
            laws[name] = Selection(methods, budget)
    return laws


def _determine_a_law(cells: Collection[Cell]) -> bool:
    llms, counts = {cell.llm for cell in cells}, {cell.visual_tokens for cell in cells}
    return len(cells) >= 4 and len(llms) >= 2 and len(counts) >= 2


def write_cells(path: Path, study: str, cells: Iterable[Cell]) -> None:
    """Write a CSV table for people: one row per cell."""
    columns = ["study", *(f.name for f in fields(Cell))]
    with atomic_path(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({"study": study, **asdict(cell)} for cell in cells)
