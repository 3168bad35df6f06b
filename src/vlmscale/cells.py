"""The grid of a study: cells, the points of the law, and the training runs that serve them.

A training run is (LLM, method, visual tokens, seed) as trained. A cell is the same four, as evaluated.
Several cells can be served by one run: a method says so in its own file (Variant.trained_as). Methods
go by the names that the study gives them.
"""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Literal

from vlmscale.config import Exclude, Study
from vlmscale.errors import UserError
from vlmscale.provenance import atomic_path


@dataclass(frozen=True)
class Run:
    """A training run; `run` is its id."""

    run: str
    llm: str
    method: str
    visual_tokens: int
    seed: int


@dataclass(frozen=True)
class Cell:
    """A point of the study: the training run `run`, evaluated with `method` at `visual_tokens`."""

    cell: str
    run: str
    llm: str
    method: str
    visual_tokens: int
    seed: int
    role: Literal["fit", "holdout"]


def slug(llm: str, method_name: str, visual_tokens: int, seed: int) -> str:
    """The id of a run or a cell, for people and paths; nothing ever parses it."""
    return f"{llm}__{method_name}__v{visual_tokens}__s{seed}"


def expand(study: Study) -> tuple[dict[str, Cell], dict[str, Run]]:
    """Cells and runs of a study, by id. Raises UserError for a duplicate cell or an empty grid."""
    cells: dict[str, Cell] = {}
    runs: dict[str, Run] = {}
    for block in study.grid:
        for llm, name, tokens, seed in product(
            block.llms, block.methods, block.visual_tokens, block.seeds
        ):
            if any(_matches(rule, llm, name, tokens, seed) for rule in study.exclude):
                continue
            trained_method, trained_tokens = study.variant(name).trained_as(tokens, study.grid_side)
            run = Run(
                slug(llm, trained_method, trained_tokens, seed),
                llm,
                trained_method,
                trained_tokens,
                seed,
            )
            role: Literal["fit", "holdout"] = "holdout" if llm in study.laws.holdout else "fit"
            cell = Cell(slug(llm, name, tokens, seed), run.run, llm, name, tokens, seed, role)
            if cell.cell in cells:
                raise UserError(
                    f"grid: cell {cell.cell} is listed twice. Take it out of one block."
                )
            cells[cell.cell] = cell
            runs[run.run] = run
    if not cells:
        raise UserError("grid: every cell is excluded. Loosen `exclude`.")
    return cells, runs


def _matches(rule: Exclude, llm: str, name: str, tokens: int, seed: int) -> bool:
    values = {"llm": llm, "method": name, "visual_tokens": tokens, "seed": seed}
    return all(values[axis] == value for axis, value in rule.model_dump(exclude_none=True).items())


def write_cells(path: Path, study: str, cells: Iterable[Cell]) -> None:
    """Write the table of cells for people to read: one row a cell."""
    columns = ["study", *(f.name for f in fields(Cell))]
    with atomic_path(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({"study": study, **asdict(cell)} for cell in cells)
