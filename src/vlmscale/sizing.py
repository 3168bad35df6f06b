"""How large the jobs of a study are, and what they ask a cluster for. Needs no torch."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from vlmscale import cluster
from vlmscale.architectures import Decoder, Tower
from vlmscale.cells import Cell, Run
from vlmscale.cluster import Request
from vlmscale.config import Data, Study, check_benchmarks
from vlmscale.errors import UserError
from vlmscale.settings import Counts, Dataset, Transformer

Stage = Literal["stage1", "stage2"]


def stage_request(study: Study, stage: Stage, run: Run) -> Request:
    """The request of a stage of a run. Raises UserError where no number of GPUs divides its batch."""
    return cluster.training(
        study.cluster,
        _parameters(study.decoders[run.llm]),
        study.stage1 if stage == "stage1" else study.stage2_at(run.budget),
        study.data.stage1 if stage == "stage1" else study.data.stage2,
        visual_tokens=run.visual_tokens,
        frozen=stage == "stage1",
    )


def evaluation_request(study: Study, cell: Cell, questions: int) -> Request:
    """The request of a cell's answers to all questions."""
    return cluster.inference(
        study.cluster,
        _parameters(study.decoders[cell.llm]),
        questions,
        cell.visual_tokens + cluster.TEXT_TOKENS,
    )


def encoding_request(study: Study, split: str, questions: int) -> Request:
    """The request of the tower's features of a split's images, at most one for each of the questions."""
    tower, data = study.tower_shape, getattr(study.data, split, None)
    match data:
        case Counts():
            images = data.scenes + data.pages
        case Dataset():
            images = data.samples - data.text_only
        case _:
            images = questions
    return cluster.inference(study.cluster, _parameters(tower), images, tower.patches)


def backbone_requests(study: Study) -> dict[str, Request]:
    """The request of each training of a backbone that the study makes, by the backbone's name."""
    if not isinstance(study.data, Data):
        return {}
    shapes: dict[str, Decoder | Tower] = {"tower": study.tower_shape, **study.decoders}
    found = {}
    for name, made in {"tower": study.tower, **study.llms}.items():
        assert isinstance(made, Transformer)  # or it would be released, as the data would be
        found[name] = cluster.backbone(
            study.cluster,
            _parameters(shapes[name]),
            made.recipe,
            study.data.tower if name == "tower" else study.data.corpus,
            visual_tokens=study.grid_side**2 if name == "tower" else 0,
        )
    return found


def benchmark_rows(table: Path) -> dict[str, dict[str, str]]:
    """The rows of resources/benchmarks.csv, by benchmark."""
    with table.open(newline="") as file:
        return {row["benchmark"]: row for row in csv.DictReader(file)}


def asked(study: Study, benchmarks: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """Benchmark -> number of questions: of its row, or of the test split of a study with a world.

    Raises UserError for a benchmark that belongs to the other kind of study, or is not among `benchmarks`.
    """
    check_benchmarks(study, benchmarks, "resources/benchmarks.csv")
    found = {}
    for name in study.evaluation.benchmarks:
        row = benchmarks[name]
        if isinstance(study.data, Data) != (row["task"] == "world"):
            needs = "has no world" if study.world else "needs a world"
            raise UserError(f"evaluation.benchmarks: {name!r} is of a study that {needs}")
        if isinstance(study.data, Data):
            test = study.data.test
            found[name] = test.scenes if row["family"] == "reasoning" else test.pages
        else:
            found[name] = int(row["questions"])
    return found


def _parameters(shape: Decoder | Tower) -> float:
    """Of a model's blocks; the vocabulary of an LLM that the study makes is not known yet."""
    return 1e9 * (shape.total_b if isinstance(shape, Tower) else shape.non_embedding_b)
