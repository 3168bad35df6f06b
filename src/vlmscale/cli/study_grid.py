"""The cells of one law of a study, with their scores and the GPU hours that they take."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import select_cells
from vlmscale.cli.cells import choose_gpu
from vlmscale.costs.gpus import Gpu
from vlmscale.errors import UserError
from vlmscale.planning.sizing import size_trainings
from vlmscale.planning.trainings import estimate_training, training_id
from vlmscale.records.parquet import read_parquet
from vlmscale.records.tables import read_table
from vlmscale.settings import STAGES
from vlmscale.study.grid import Run, expand_grid, list_laws
from vlmscale.study.load import load_study
from vlmscale.study.schema import Study
from vlmscale.study.selection import FULL, SUITES

_COLUMNS = ["cell", "run", "llm", "method", "n_params_b", "visual_tokens", "seed"]


@dataclass(frozen=True)
class StudyGrid:
    """What a study has and may train for one of its laws."""

    study: str
    series: str
    family: str
    # Cells with scores and without: cell, run, llm, method, n_params_b, visual_tokens, seed; and error, or
    # hours, which are those that are left of its run.
    points: pd.DataFrame
    candidates: pd.DataFrame
    hours: dict[tuple[str, int], float]  # GPU hours of a run, by LLM and V
    sizes_b: dict[str, float]  # of every LLM in the config
    gpu: Gpu
    utilisation: float
    refused: list[str]  # why trainings fit no GPUs, each reason once; they are no candidates

    @property
    def cells(self) -> pd.DataFrame:
        """All cells of the law, with and without scores."""
        return pd.concat([self.points[_COLUMNS], self.candidates[_COLUMNS]], ignore_index=True)


def read_grid(
    config: Path,
    results: Path,
    *,
    series: str | None,
    family: str,
    gpu: str | None,
    utilisation: float | None,
) -> StudyGrid:
    """Return the cells of a law: of `series`, by default the first at full budget, and a family.

    results: folder of all studies; scores are read from errors.parquet of the study's folder and from cells
    evaluated since. Hours are those of `vlmscale cells`; a stage 1 that runs share is counted with each.
    Raises UserError for a study without such a law.
    """
    study, chosen = choose_gpu(load_study(config), gpu, utilisation)
    cells, runs = expand_grid(study)
    laws = list_laws(study, cells.values())
    at_full = (name for name, selection in laws.items() if selection.budget == FULL)
    name = next(at_full, next(iter(laws), "")) if series is None else series
    if name not in laws:
        there = ", ".join(laws) or "none, as laws.series is empty"
        raise UserError(f"{config}: no law {name!r}. There are: {there}. Choose with --series.")
    if family not in SUITES:
        raise UserError(f"family {family!r}: laws are of {' and '.join(SUITES)}")
    folder, selection = results / study.study, laws[name]
    fitted = pd.DataFrame([vars(cell) for cell in cells.values() if cell.role == "fit"])
    fitted = select_cells(fitted, selection)
    scores, measured = _read_scores(folder, fitted, family)
    sizes = {**_list_sizes(study), **measured}
    fitted = fitted.assign(n_params_b=fitted["llm"].map(sizes))
    known = fitted["cell"].isin(scores)
    points = fitted.assign(error=fitted["cell"].map(scores).astype(float))[known]
    mine = {run: runs[run] for run in fitted["run"].unique()}
    fits = size_trainings(study, mine.values())
    refused = {
        run: str(size)
        for run, found in mine.items()
        for size in (fits[stage, training_id(stage, found)] for stage in STAGES)
        if isinstance(size, UserError)
    }
    waiting = fitted[~known & ~fitted["run"].isin(refused)]
    return StudyGrid(
        study=study.study,
        series=name,
        family=family,
        points=points[[*_COLUMNS, "error"]].reset_index(drop=True),
        candidates=waiting[_COLUMNS]
        .assign(hours=[_count_hours(study, mine[run], folder) for run in waiting["run"]])
        .reset_index(drop=True),
        hours={
            (llm, v): _count_hours(study, mine[run])
            for run, llm, v in fitted[["run", "llm", "visual_tokens"]].itertuples(index=False)
        },
        sizes_b=sizes,
        gpu=chosen,
        utilisation=study.cluster.utilisation,
        refused=list(dict.fromkeys(refused.values())),
    )


def _count_hours(study: Study, run: Run, folder: Path | None = None) -> float:
    """Return the GPU hours of a run's trainings; folder: of results, whose trainings are done."""
    flops = 0.0
    for stage in STAGES:
        name = training_id(stage, run)
        if folder is None or not (folder / "runs" / name / stage / "run.json").exists():
            flops += estimate_training(study, stage, run).flops
    return study.cluster.gpu_hours(flops)


def _read_scores(
    folder: Path, cells: pd.DataFrame, family: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean error of a family by cell, and the sizes by LLM that errors.parquet states."""
    errors: dict[str, float] = {}
    sizes: dict[str, float] = {}
    if (folder / "errors.parquet").is_file():
        table = read_table(folder / "errors.parquet")
        mine = table[(table["family"] == family) & (table["benchmark"] == "mean")]
        errors = dict(zip(mine["cell"], mine["error"], strict=True))
        sizes = dict(zip(table["llm"], table["n_params_b"], strict=True))
    for cell in cells["cell"]:
        file = folder / "cells" / cell / "scores.parquet"
        if cell not in errors and file.is_file():
            scores = read_parquet(file)
            of_family = scores.loc[scores["family"] == family, "score"]
            if len(of_family):
                errors[cell] = 1 - float(of_family.mean())
    return errors, sizes


def _list_sizes(study: Study) -> dict[str, float]:
    """Return N in billions by LLM, as its shape tells it: an embedding counts once it has a vocabulary."""
    if study.size_axis == "nominal":
        return study.nominal_sizes
    of = "total_b" if study.size_axis == "total" else "non_embedding_b"
    return {llm: float(getattr(shape, of)) for llm, shape in study.decoders.items()}
