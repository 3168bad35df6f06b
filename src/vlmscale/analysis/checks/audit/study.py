"""A study as evidence: its errors and, read when needed, the answers to single questions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vlmscale.analysis.checks.engine import INTERVAL, Finding
from vlmscale.analysis.collect import require_one_protocol
from vlmscale.analysis.laws.answers import Scores, resample_scores
from vlmscale.analysis.laws.points import Floats
from vlmscale.errors import UserError
from vlmscale.records.parquet import read_parquet, read_provenance
from vlmscale.study.selection import FULL

DRAWS = 2000
SEED = 0
PAPER_METHODS = ("tokenpacker", "mlp")  # of the paper's scaling laws
Setting = tuple[str, str, int]  # name of a method, LLM, visual tokens


class MissingCells(Exception):
    """A study lacks the cells that the check of a claim needs."""


@dataclass(frozen=True)
class Study:
    """The results of a study at the full budget."""

    folder: Path
    errors: pd.DataFrame  # of tabulate_errors
    methods: Mapping[str, Mapping[str, Any]]  # method and options by their name in the study

    @cached_property
    def protocol(self) -> str | None:
        return require_one_protocol(self.errors)

    @cached_property
    def settings(self) -> set[Setting]:
        columns = ["method", "llm", "visual_tokens"]
        return set(self.errors[columns].drop_duplicates().itertuples(index=False, name=None))

    def method_of(self, name: str) -> str:
        """Return the method that the study calls `name`."""
        return str(self.methods[name]["method"]) if name in self.methods else name

    def options_of(self, name: str) -> Mapping[str, str]:
        """Return the known options of the method that the study calls `name`."""
        return self.methods[name]["options"] if name in self.methods else {}

    def pair_by_option(self, method: str, option: str, a: str, b: str) -> list[tuple[str, str]]:
        """Return pairs of names of `method` that differ in `option` alone: it is a, then b."""
        names = [name for name in self.errors["method"].unique() if self.method_of(name) == method]
        return [
            (x, y)
            for x in names
            for y in names
            if (self.options_of(x).get(option), self.options_of(y).get(option)) == (a, b)
            and {**self.options_of(x), option: ""} == {**self.options_of(y), option: ""}
        ]

    def benchmarks(self, family: str) -> list[str]:
        """Return the benchmarks of a family, without their mean."""
        mine = self.errors[self.errors["family"] == family]
        return [name for name in mine["benchmark"].unique() if name != "mean"]

    def scores(self, settings: Sequence[Setting], benchmarks: Sequence[str]) -> Scores:
        """Return the scores of settings, resampled. Raises MissingCells if one is missing."""
        single = self.errors[self.errors["benchmark"].isin(benchmarks)]
        columns = [single["method"], single["llm"], single["visual_tokens"]]
        keys = pd.Series(list(zip(*columns, strict=True)), index=single.index, dtype=object)
        parts = [single[keys == setting].assign(group=i) for i, setting in enumerate(settings)]
        if not parts or any(part.empty for part in parts):
            raise MissingCells
        cells = pd.concat(parts)
        found = resample_scores(cells, self._answers, benchmarks, draws=DRAWS, seed=SEED)
        if found is None:
            raise MissingCells
        return found

    def _answers(self, benchmark: str, cells: Sequence[str]) -> pd.DataFrame:
        file = self.folder / "samples.parquet"
        if not file.is_file():
            raise UserError(
                f"{self.folder} has no samples.parquet, the answers to single questions. Collect the "
                "study again: snakemake --forcerun collect."
            )
        chosen = [("benchmark", "==", benchmark), ("cell", "in", list(cells))]
        return read_parquet(file, columns=["cell", "id", "score"], filters=chosen)


def summarize_scores(scores: Scores, number: Callable[[Floats], Floats], note: str) -> Finding:
    """Return number(scores), of (..., g, b), with its interval over questions and seeds."""
    over = "questions" + (f" and {scores.seeds} seeds" if scores.seeds > 1 else "")
    # Infinite draws stay infinite.
    low, high = np.quantile(number(scores.drawn), INTERVAL, method="closest_observation")
    return Finding(float(number(scores.measured)), float(low), float(high), over, note)


def load_study(folder: Path) -> Study:
    """Read the folder of a study's results. Raises UserError for one that has not been collected."""
    file = folder / "errors.parquet"
    if not file.is_file():
        raise UserError(
            f"{folder} has no errors.parquet. Give the results folder of a study that was run, such as "
            "results/mini."
        )
    errors = read_parquet(file)
    methods = read_provenance(file).get("methods", {})
    return Study(folder, errors[errors["budget"] == FULL], methods)
