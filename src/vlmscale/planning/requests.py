"""What the jobs of a study ask a cluster for, and whether its GPUs can hold them; before anything starts.

Asked by the workflow for every job each time it is parsed: needs neither torch nor pandas.
"""

from collections.abc import Iterable, Iterator, Mapping

from vlmscale.costs import cluster
from vlmscale.costs.memory import Layout, check_fits
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.errors import UserError
from vlmscale.study.grid import Cell, Run
from vlmscale.study.schema import STAGES, Stage, Study
from vlmscale.training.batch_split import split_batch

_SHOWN = 3  # trainings that are named; the rest is counted
_TOO_LARGE = (
    "trainings do not fit the GPUs of `cluster`; change it, or the stage's `execution`, neither of which "
    "reruns anything:"
)


def parameters_of(shape: Decoder | Tower) -> float:
    """Of a model; the vocabulary of an LLM that the study makes is not known yet, and left out."""
    return 1e9 * shape.total_b


def of_training(study: Study, stage: Stage, run: Run) -> cluster.Request:
    """What a stage of a run asks for."""
    return cluster.training(
        study.cluster,
        parameters_of(study.decoders[run.llm]),
        study.get_recipe(stage, run.budget),
        study.get_training_data(stage),
        visual_tokens=run.visual_tokens,
        frozen=stage == "stage1",
    )


def of_backbones(study: Study) -> dict[str, cluster.Request]:
    """What the training of each backbone that the study makes asks for, by the backbone's name."""
    shapes: dict[str, Decoder | Tower] = {"tower": study.tower_shape, **study.decoders}
    return {
        name: cluster.backbone(
            study.cluster,
            parameters_of(shapes[name]),
            recipe,
            data,
            visual_tokens=study.grid_side**2 if name == "tower" else 0,
        )
        for name, (recipe, data) in study.pretrainings.items()
    }


def of_evaluation(study: Study, cell: Cell, questions: int) -> cluster.Request:
    """What a cell's answers to all questions ask for."""
    return cluster.inference(
        study.cluster,
        parameters_of(study.decoders[cell.llm]),
        questions,
        cell.visual_tokens + cluster.TEXT_TOKENS,
    )


def of_encoding(study: Study, split: str, questions: int) -> cluster.Request:
    """What the tower's features of a split ask for; of released questions, each has an image at most."""
    tower, images = study.tower_shape, study.count_images(split, questions)
    return cluster.inference(study.cluster, parameters_of(tower), images, tower.patches)


def of_inference(study: Study, shape: Decoder | Tower) -> cluster.Request:
    """What a few passes ask for."""
    return cluster.inference(study.cluster, parameters_of(shape))


def check_memory(study: Study, runs: Mapping[str, Run]) -> None:
    """Raise UserError when a GPU of `study.cluster` cannot hold a step of one of the runs, by name."""
    found = list(misfits(study, runs))
    more = [f"and {len(found) - _SHOWN} more."] if len(found) > _SHOWN else []
    if found:
        raise UserError("\n  ".join([_TOO_LARGE, *found[:_SHOWN], *more]))


def misfits(study: Study, runs: Mapping[str, Run]) -> Iterator[str]:
    """Of the trainings that do not fit, what they need and what would do; of all seeds the first."""
    for stage in STAGES:
        for run in _unlike(stage, runs.values()):
            request = of_training(study, stage, run)
            recipe = study.get_recipe(stage, run.budget)
            asked = recipe.execution
            samples = split_batch(
                recipe.batch_size, request.gpus, asked.micro_batch_size
            ).micro_batch_size
            method = study.find_variant(run.method).method
            try:
                check_fits(
                    run.stage1 if stage == "stage1" else run.run,
                    study.cluster.gpu_memory_gb,
                    study.decoders[run.llm],
                    study.tower_shape,
                    method.name,
                    run.visual_tokens,
                    stage,
                    Layout(
                        gpus=request.gpus,
                        zero=asked.zero,
                        micro_batch=samples,
                        max_length=recipe.max_length,
                        checkpointing=asked.activation_checkpointing,
                    ),
                    copies=method.count_copies(study.grid_side, stage),
                )
            except UserError as error:
                yield str(error)


def _unlike(stage: Stage, runs: Iterable[Run]) -> Iterable[Run]:
    first: dict[tuple[str, str, int, str], Run] = {}
    for run in runs:
        budget = run.budget if stage == "stage2" else ""
        first.setdefault((run.llm, run.method, run.visual_tokens, budget), run)
    return first.values()
