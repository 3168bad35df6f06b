"""What a study will cost, before anything starts: FLOPs, parameters and disk of every training run.

Everything is computed from the config and from shapes of models; nothing is loaded or fetched.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from vlmscale.costs.cluster import samples as samples_seen
from vlmscale.costs.flops import answer_gflops, compressor_parameters, training_gflops
from vlmscale.study.grid import Cell, Run, expand_grid, list_stage1_trainings
from vlmscale.study.schema import STAGES, Stage, Study

# Bytes a trained parameter takes with AdamW: weight, gradient, two moments; in bf16 with float32 copies.
_STATE = 16
# Two checkpoints of a training are kept until it ends: weights and both moments, in float32.
_WORK = 2 * 12
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Assumptions:
    """What a config does not say, and costs depend on."""

    text_tokens: int = 64  # of a training sample, where its dataset does not say
    question_tokens: int = 50  # of a question of a benchmark, beside the visual ones
    answer_tokens: int = 8


ASSUMED = Assumptions()


@dataclass(frozen=True)
class Training:
    """One stage of one run, as it is launched."""

    run: str
    stage: Stage
    samples: float
    tokens: float  # positions of the LLM, visual ones included
    flops: float  # forward and back, of tower, compressor and LLM


@dataclass(frozen=True)
class RunCost:
    """A training run, what it serves and what it costs."""

    run: Run
    trainings: tuple[Training, ...]  # a stage 1 that runs share is with the first of them
    cells: tuple[str, ...]
    parameters: int  # of the LLM, without embedding and head
    total_parameters: int | None  # of the LLM; None before the study has made its tokenizer
    projector_parameters: int
    evaluation_flops: float  # of all its cells
    disk_gb: float  # of what is kept: projector and checkpoint
    work_gb: float  # of the checkpoints of stage 2 while it runs
    state_gb: float  # of stage 2 in the memory of GPUs: weights, gradients, moments; no activations

    @property
    def training_flops(self) -> float:
        return sum(training.flops for training in self.trainings)


@dataclass(frozen=True)
class Gpu:
    """A row of resources/gpus.csv."""

    gpu: str
    name: str
    bf16_tflops: float  # peak, dense
    memory_gb: float
    utilisation: float | None  # share of the peak that a training is known to have reached
    source: str

    def least(self, gigabytes: float) -> int:
        """How many of them hold `gigabytes`, leaving a fifth of the memory to activations."""
        return ceil(gigabytes / (0.8 * self.memory_gb))


def run_costs(
    study: Study, questions: Mapping[str, int], assumed: Assumptions = ASSUMED
) -> list[RunCost]:
    """Every training run of the study. questions: benchmark -> how many are asked."""
    cells, runs = expand_grid(study)
    served: dict[str, list[Cell]] = {}
    for cell in cells.values():
        served.setdefault(cell.run, []).append(cell)
    first = {run.run for run in list_stage1_trainings(runs.values()).values()}
    number = sum(questions.values())
    costs = []
    for run in runs.values():
        trainings = [_training(study, run, "stage2", assumed)]
        if run.run in first:
            trainings.insert(0, _training(study, run, "stage1", assumed))
        decoder, projector = study.decoders[run.llm], _projector_parameters(study, run)
        llm, tower = round(decoder.total_b * 1e9), round(study.tower_shape.total_b * 1e9)
        width = 2 if study.stage2.precision == "bf16" else 4  # bytes of a saved weight
        saved = llm + tower + projector + (projector if run.run in first else 0)
        costs.append(
            RunCost(
                run=run,
                trainings=tuple(trainings),
                cells=tuple(cell.cell for cell in served[run.run]),
                parameters=round(decoder.non_embedding_b * 1e9),
                total_parameters=llm if decoder.vocabulary else None,
                projector_parameters=projector,
                evaluation_flops=number
                * sum(_answer_flops(study, cell, assumed) for cell in served[run.run]),
                disk_gb=width * saved / _GIGABYTE,
                work_gb=_WORK * (llm + projector) / _GIGABYTE,
                state_gb=(_STATE * (llm + projector) + 2 * tower) / _GIGABYTE,
            )
        )
    return costs


def planned_trainings(study: Study) -> list[dict[str, Any]]:
    """Every training once: its fields, and llm, method and visual_tokens of its run."""
    return [
        {
            "llm": cost.run.llm,
            "method": cost.run.method,
            "visual_tokens": cost.run.visual_tokens,
            **vars(training),
        }
        for cost in run_costs(study, {})
        for training in cost.trainings
    ]


def _training(study: Study, run: Run, stage: Stage, assumed: Assumptions) -> Training:
    data = study.get_training_data(stage)
    samples = samples_seen(study.get_recipe(stage, run.budget), data.samples)
    text = data.text_tokens or assumed.text_tokens
    text_only = (data.samples - data.images) / data.samples
    method = study.find_variant(run.method).method

    def gflops(visual_tokens: int) -> float:
        return training_gflops(
            study.decoders[run.llm],
            study.tower_shape,
            method.name,
            visual_tokens,
            text,
            llm_trained=stage == "stage2",
            stored_features=study.vision_cache and "pixels" not in method.needs,
            feature_layers=len(study.tower.feature_layers),
        ).total

    return Training(
        run=run.stage1 if stage == "stage1" else run.run,
        stage=stage,
        samples=samples,
        tokens=samples * (text + (1 - text_only) * run.visual_tokens),
        flops=1e9 * samples * ((1 - text_only) * gflops(run.visual_tokens) + text_only * gflops(0)),
    )


def _answer_flops(study: Study, cell: Cell, assumed: Assumptions) -> float:
    method = study.find_variant(cell.method).method
    cost = answer_gflops(
        study.decoders[cell.llm],
        study.tower_shape,
        method.name,
        cell.visual_tokens,
        assumed.question_tokens,
        assumed.answer_tokens,
        feature_layers=len(study.tower.feature_layers),
    )
    stored = study.vision_cache and "pixels" not in method.needs
    return 1e9 * (cost.without_tower if stored else cost.total)


def _projector_parameters(study: Study, run: Run) -> int:
    return round(
        compressor_parameters(
            study.find_variant(run.method).method.name,
            run.visual_tokens,
            tower=study.tower_shape,
            llm_width=study.decoders[run.llm].hidden_size,
            feature_layers=len(study.tower.feature_layers),
        )
    )


def benchmark_rows(table: Path) -> dict[str, dict[str, str]]:
    """The rows of resources/benchmarks.csv, by benchmark."""
    with table.open(newline="") as file:
        return {row["benchmark"]: row for row in csv.DictReader(file)}


def load_gpus(table: Path) -> dict[str, Gpu]:
    """GPUs by name, from resources/gpus.csv."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["gpu"]: Gpu(
            row["gpu"],
            row["name"],
            float(row["bf16_tflops"]),
            float(row["memory_gb"]),
            float(row["utilisation"]) if row["utilisation"] else None,
            row["source"],
        )
        for row in rows
    }


def finished(results: Path, runs: Iterable[Run]) -> set[tuple[str, Stage]]:
    """The (run, stage) whose record lies in the folder of a study's results."""
    wanted: list[tuple[str, Stage]] = []
    for run in runs:
        wanted += [(run.stage1, "stage1"), (run.run, "stage2")]
    return {
        (run, stage)
        for run, stage in wanted
        if (results / "runs" / run / stage / "run.json").exists()
    }


def evaluated(results: Path, cells: Iterable[str]) -> int:
    """How many of the cells have their scores in the folder of a study's results."""
    return sum((results / "cells" / cell / "scores.parquet").exists() for cell in cells)


def features_gb(study: Study) -> float:
    """Gigabytes of the tower's features of all images, where a study keeps them: float32."""
    if not study.vision_cache:
        return 0.0
    tower, images = study.tower_shape, study.count_images("test")
    seeds = {seed for block in study.grid for seed in block.seeds}
    for stage in STAGES:
        samples = {study.choose_sample(stage, seed) for seed in seeds}
        images += len(samples) * study.count_images(stage)
    values = (tower.patches + 1) * tower.hidden_size * len(study.tower.feature_layers)
    return 4 * images * values / _GIGABYTE
