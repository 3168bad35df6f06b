"""What each job of a study requests of a cluster.

The workflow asks for every job each time it is parsed: needs neither torch nor pandas.
"""

from collections.abc import Iterable

from vlmscale.costs.cluster import Request
from vlmscale.errors import UserError
from vlmscale.planning.sizing import size_trainings
from vlmscale.planning.trainings import ASSUMED, count_samples, estimate_answer_flops
from vlmscale.settings import STAGES, Stage
from vlmscale.study.grid import Cell, Run
from vlmscale.study.schema import Study

_SHOWN = 3  # trainings that are named; the rest is counted
_TOO_LARGE = (
    "trainings do not fit the GPUs of `cluster`; change it, or the stage's `execution`, neither of which "
    "reruns anything:"
)
# To prepare a sample's image, and its share of a batch's steps through Python. An assumption on the long
# side, since an evaluation that runs out of time starts again.
_SAMPLE_SECONDS = 0.1


def request_trainings(study: Study, runs: Iterable[Run]) -> dict[Stage, dict[str, Request]]:
    """Return the request of every training by stage and id.

    Raises UserError when some fit no possible number of GPUs; it names the first few.
    """
    runs = list(runs)
    llms = {name: run.llm for run in runs for name in (run.stage1, run.run)}
    requests: dict[Stage, dict[str, Request]] = {stage: {} for stage in STAGES}
    refused: list[str] = []
    for (stage, name), size in size_trainings(study, runs).items():
        if isinstance(size, UserError):
            refused.append(str(size))
        else:
            parameters = 1e9 * study.decoders[llms[name]].total_b
            recipe = study.stage1 if stage == "stage1" else study.stage2
            chosen = recipe.execution.activation_checkpointing == "auto"
            requests[stage][name] = Request(
                study.cluster,
                size.gpus,
                size.hours,
                parameters,
                size.layout.checkpointing if chosen else None,
            )
    refused = list(dict.fromkeys(refused))  # seeds are refused alike
    if refused:
        more = [f"and {len(refused) - _SHOWN} more."] if len(refused) > _SHOWN else []
        raise UserError("\n  ".join([_TOO_LARGE, *refused[:_SHOWN], *more]))
    return requests


def request_backbones(study: Study) -> dict[str, Request]:
    """Return the request of each backbone's training by name: one GPU, as it is one process."""
    text = ASSUMED.text_tokens
    passes = {"tower": (study.tower_shape.gflops(), study.tower_shape.total_b)} | {
        name: (decoder.forward(text, cached=0, scored=text).total, decoder.total_b)
        for name, decoder in study.decoders.items()
    }
    requests = {}
    for name, (recipe, data) in study.pretrainings.items():
        gflops, billions = passes[name]
        # Forward and back are three passes.
        hours = study.cluster.gpu_hours(3e9 * gflops * count_samples(recipe, data.samples))
        requests[name] = Request(study.cluster, 1, hours, 1e9 * billions)
    return requests


def request_evaluation(study: Study, cell: Cell, questions: int) -> Request:
    """Return the request of a cell's answers to all questions."""
    flops = estimate_answer_flops(study, cell)
    return _request_passes(study, study.decoders[cell.llm].total_b, questions, flops)


def request_encoding(study: Study, split: str, questions: int) -> Request:
    """Return the request of the tower's features of a split.

    questions: of all benchmarks; of released ones, each has one image at most.
    """
    tower, images = study.tower_shape, study.count_images(split, questions)
    return _request_passes(study, tower.total_b, images, 1e9 * tower.gflops())


def request_latency(study: Study, llm: str) -> Request:
    """Return the request of an LLM's few timed passes."""
    return _request_passes(study, study.decoders[llm].total_b, 0, 0)


def _request_passes(study: Study, billions: float, samples: int, flops: float) -> Request:
    """Return the request of one GPU for `samples` passes of `flops` each."""
    hours = study.cluster.gpu_hours(samples * flops) + samples * _SAMPLE_SECONDS / 3600
    return Request(study.cluster, 1, hours, 1e9 * billions)
