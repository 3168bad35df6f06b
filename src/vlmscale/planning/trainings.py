"""Estimate FLOPs, parameters and disk of every training run from its config and model shapes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vlmscale.costs.flops import (
    answer_gflops,
    compressor_parameters,
    count_positions,
    training_gflops,
)
from vlmscale.settings import STAGES, Recipe, Stage
from vlmscale.study.grid import Cell, Run, expand_grid, list_stage1_trainings
from vlmscale.study.schema import Study

# Bytes per parameter: two checkpoints, each of weights and both Adam moments in float32.
_WORK = 2 * 12
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Assumptions:
    """Token counts that costs depend on and a config does not give."""

    text_tokens: int = 64  # per training sample, if its dataset gives none
    question_tokens: int = 50  # per benchmark question, without visual tokens
    answer_tokens: int = 8  # generated tokens per answer


ASSUMED = Assumptions()


@dataclass(frozen=True)
class Training:
    """The cost of one stage of one run."""

    run: str
    stage: Stage
    samples: float
    tokens: float  # positions of the LLM, visual ones included
    flops: float  # forward and backward, of tower, projector and LLM


@dataclass(frozen=True)
class RunCost:
    """A training run, the cells it serves and its costs."""

    run: Run
    trainings: tuple[Training, ...]  # the first of the runs that share a stage 1 lists it
    cells: tuple[str, ...]
    parameters: int  # of the LLM, without embedding and LM head
    total_parameters: int | None  # of the LLM; None until its tokenizer exists
    projector_parameters: int
    evaluation_flops: float  # of all its cells and questions
    disk_gb: float  # kept: projector and model folder
    work_gb: float  # temporary: checkpoints of stage 2

    @property
    def training_flops(self) -> float:
        return sum(training.flops for training in self.trainings)


def estimate_runs(
    study: Study, questions: Mapping[str, int], assumed: Assumptions = ASSUMED
) -> list[RunCost]:
    """Return the costs of every training run. questions: benchmark -> number of questions."""
    cells, runs = expand_grid(study)
    served: dict[str, list[Cell]] = {}
    for cell in cells.values():
        served.setdefault(cell.run, []).append(cell)
    first = {run.run for run in list_stage1_trainings(runs.values()).values()}
    n_questions = sum(questions.values())
    tower = round(study.tower_shape.total_b * 1e9)
    width = 2 if study.stage2.precision == "bf16" else 4  # bytes of a saved weight
    costs = []
    for run in runs.values():
        stages = STAGES if run.run in first else STAGES[1:]
        decoder = study.decoders[run.llm]
        llm = round(decoder.total_b * 1e9)
        variant = study.find_variant(run.method)
        projector = round(
            compressor_parameters(
                variant.method.name,
                run.visual_tokens,
                tower=study.tower_shape,
                llm_width=decoder.hidden_size,
                layer_parameters=decoder.layer_parameters,
                options=variant.options,
            )
        )
        saved = llm + tower + projector * len(stages)
        answers = sum(estimate_answer_flops(study, cell, assumed) for cell in served[run.run])
        costs.append(
            RunCost(
                run=run,
                trainings=tuple(estimate_training(study, stage, run, assumed) for stage in stages),
                cells=tuple(cell.cell for cell in served[run.run]),
                parameters=round(decoder.non_embedding_b * 1e9),
                total_parameters=llm if decoder.vocabulary else None,
                projector_parameters=projector,
                evaluation_flops=n_questions * answers,
                disk_gb=width * saved / _GIGABYTE,
                work_gb=_WORK * (llm + projector) / _GIGABYTE,
            )
        )
    return costs


def list_trainings(study: Study) -> list[dict[str, Any]]:
    """Return one dict per training: the fields of its run, then its own."""
    return [
        {**vars(cost.run), **vars(training)}
        for cost in estimate_runs(study, {})
        for training in cost.trainings
    ]


def estimate_training(
    study: Study, stage: Stage, run: Run, assumed: Assumptions = ASSUMED
) -> Training:
    """Return samples, tokens and FLOPs of one stage of a run.

    Upper bound for an elastic method (V varies by batch): every batch counts with the largest V.
    """
    data = study.data.stage1 if stage == "stage1" else study.data.stage2
    samples = count_samples(study.get_recipe(stage, run.budget), data.samples)
    text = data.text_tokens or assumed.text_tokens
    text_only = (data.samples - data.images) / data.samples

    variant, decoder = study.find_variant(run.method), study.decoders[run.llm]
    patches = study.tower_shape.patches
    image = count_positions(decoder, variant.method.name, run.visual_tokens, patches=patches)

    def gflops(visual_tokens: int) -> float:
        return training_gflops(
            decoder,
            study.tower_shape,
            variant.method.name,
            visual_tokens,
            text,
            llm_trained=stage == "stage2",
            stored_features=study.stores_features(run.method, stage),
            options=variant.options,
        ).total

    return Training(
        run=training_id(stage, run),
        stage=stage,
        samples=samples,
        tokens=samples * (text + (1 - text_only) * image.passed),
        flops=1e9 * samples * ((1 - text_only) * gflops(run.visual_tokens) + text_only * gflops(0)),
    )


def describe_samples(
    study: Study, budgets: Iterable[str], assumed: Assumptions = ASSUMED
) -> dict[str, Any]:
    """Return the fields of analysis.decisions.lifetime.Sampled: what stage 2 processes at each budget."""
    data = study.data.stage2
    return {
        "by_budget": {
            budget: count_samples(study.get_recipe("stage2", budget), data.samples)
            for budget in budgets
        },
        "text_tokens": float(data.text_tokens or assumed.text_tokens),
        "image_share": data.images / data.samples,
    }


def training_id(stage: Stage, run: Run) -> str:
    """Return the id of the training of `stage` that `run` uses; several runs may share a stage 1."""
    return run.stage1 if stage == "stage1" else run.run


def count_samples(recipe: Recipe, size: int) -> float:
    """Return how many samples a training processes; repeats count. size: samples in the split."""
    if recipe.steps is not None:
        return float(recipe.steps * recipe.batch_size)
    assert recipe.epochs is not None  # Recipe has one of the two
    return recipe.epochs * size


def estimate_answer_flops(study: Study, cell: Cell, assumed: Assumptions = ASSUMED) -> float:
    """Return the FLOPs for a cell's model to answer one benchmark question."""
    variant = study.find_variant(cell.method)
    cost = answer_gflops(
        study.decoders[cell.llm],
        study.tower_shape,
        variant.method.name,
        cell.visual_tokens,
        assumed.question_tokens,
        assumed.answer_tokens,
        options=variant.options,
    )
    stored = study.stores_features(cell.method, "test")
    return 1e9 * (cost.without_tower if stored else cost.total)


def estimate_features_gb(study: Study) -> float:
    """Return the GB of stored tower features (float32) of all images; 0 without vision_cache."""
    tower, seeds = study.tower_shape, {seed for block in study.grid for seed in block.seeds}
    splits = [split for split, _ in study.list_samples(seeds).values()]
    images = sum(study.count_images(split) for split in splits if study.has_stored_features(split))
    positions = tower.special_positions + tower.patches
    values = positions * tower.hidden_size * len(study.tower.feature_layers)
    return 4 * images * values / _GIGABYTE
