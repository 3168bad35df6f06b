"""What a job asks a cluster for, from the size of its model: GPUs, nodes, memory and time.

Nothing here decides a result: a study's `cluster` section reaches no job's params. Needs no torch.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import Field, PositiveInt

from vlmscale.errors import UserError
from vlmscale.settings import Counts, Dataset, Frozen, Recipe

# The names that snakemake and its executors of Slurm and Kubernetes know.
RESOURCES = (
    "gpus",  # for scripts
    "gpu",  # the same, for executors
    "nodes",
    "mpi",
    "tasks_per_node",
    "cpus_per_task",
    "mem_mb",
    "runtime",
)
# Text of a training sample beside its visual tokens, about what LLaVA's conversations have.
TEXT_TOKENS = 256
# Share of a GPU for weights, gradients and optimizer. The rest is for activations, the logits of a large
# vocabulary first among them, and for the layers that ZeRO-3 gathers.
_STATE_SHARE = 0.3
# Bytes a parameter: the weights in bf16; with their gradient, and in float32 AdamW's copy and two moments.
_FROZEN_BYTES, _TRAINED_BYTES = 2, 16
# The estimate of a training's length is one of arithmetic alone: loading, saving and data come on top.
_MARGIN, _START_MINUTES = 2.0, 30
# Whatever the model, to prepare a sample's image, and its share of a batch's steps through Python. An
# assumption; too little of it, and evaluations would be started again for want of time.
_SAMPLE_SECONDS = 0.1


class Cluster(Frozen):
    """The machines of a cluster; of no consequence for a result, nor on one machine."""

    gpu_memory_gb: float = Field(80, gt=0, description="memory of one GPU")
    gpus_per_node: PositiveInt = Field(8, description="GPUs of one node")
    cpus_per_gpu: PositiveInt = Field(8, description="cores for each GPU of a job")
    tflops: float = Field(312, gt=0, description="bf16 peak of one GPU, TFLOP/s")
    utilisation: float = Field(0.4, gt=0, le=1, description="share of that peak a training reaches")
    hours: float = Field(12, gt=0, description="a longer training gets more GPUs")
    max_hours: float = Field(
        24, gt=0, description="longest job the partition allows; a longer training takes several"
    )


@dataclass(frozen=True)
class Request:
    """What the first attempt of a job asks for."""

    gpus: int  # in total
    nodes: int
    tasks: int  # of each node, if there are several: one for each GPU; on one the job is one task
    cpus: int  # of each task
    mem_mb: int  # main memory of each node
    minutes: int
    max_minutes: int

    def resources(self, attempt: int) -> dict[str, int | str | None]:
        """The request of an attempt, by RESOURCES; None stands for what is not asked for.

        Time and memory grow with the attempt: a time limit or a lack of memory ended the one before,
        unless it was an accident, and then they do no harm.
        """
        return {
            "gpus": self.gpus,
            "gpu": self.gpus,
            "nodes": self.nodes,
            # A job on several nodes starts its processes itself; Slurm's executor wants to know by what.
            "mpi": "srun" if self.nodes > 1 else None,
            "tasks_per_node": self.tasks,
            "cpus_per_task": self.cpus,
            "mem_mb": self.mem_mb * (1 + attempt) // 2,
            "runtime": min(self.minutes * attempt, self.max_minutes),
        }


def agreed(requests: Collection[Request]) -> dict[str, int | str | None]:
    """The resources that all requests agree in, at every attempt, by RESOURCES."""
    asked = [request.resources(attempt) for request in set(requests) for attempt in (1, 2)]
    return {name: asked[0][name] for name in RESOURCES if len({one[name] for one in asked}) == 1}


def samples(recipe: Recipe, size: int) -> float:
    """Samples that a training sees of a split of that size, each pass anew."""
    if recipe.steps is not None:
        return float(recipe.steps * recipe.batch_size)
    assert recipe.epochs is not None  # Recipe has one of the two
    return recipe.epochs * size


def training(
    cluster: Cluster,
    parameters: float,
    recipe: Recipe,
    data: Counts | Dataset,
    *,
    visual_tokens: int,
    frozen: bool = False,
) -> Request:
    """The request of a training that goes through a model of `parameters`; `frozen`: without changing it.

    As many GPUs as hold weights and optimizer, spread over them as ZeRO does, and end within
    cluster.hours; whole nodes from the second one on; and only numbers that divide the batch. Raises
    UserError for a batch that is smaller.
    """
    # Two FLOPs a parameter forward, two back through the activations, two for the weights' own gradient.
    flops = (4 if frozen else 6) * parameters
    hours = _hours(cluster, flops, recipe, data, visual_tokens)
    state = (_FROZEN_BYTES if frozen else _TRAINED_BYTES) * parameters
    needed = max(
        math.ceil(state / (_STATE_SHARE * cluster.gpu_memory_gb * 1e9)),
        math.ceil(hours / cluster.hours),
    )
    gpus = _possible(needed, recipe.batch_size, cluster.gpus_per_node)
    return _request(cluster, gpus, parameters, 60 * hours / gpus)


def backbone(
    cluster: Cluster, parameters: float, recipe: Recipe, data: Counts, *, visual_tokens: int
) -> Request:
    """The request of a tiny backbone's training: one GPU, however long it takes, as it is one process."""
    return _request(
        cluster, 1, parameters, 60 * _hours(cluster, 6 * parameters, recipe, data, visual_tokens)
    )


def inference(
    cluster: Cluster, parameters: float, samples: int = 0, positions: float = 0
) -> Request:
    """The request of a pass over `samples` of so many positions: one GPU, which holds 14 billion parameters
    in bf16 from 40 GB on.
    """
    seconds = samples * (2 * parameters * positions / _rate(cluster) + _SAMPLE_SECONDS)
    return _request(cluster, 1, parameters, seconds / 60)


def _hours(
    cluster: Cluster, flops: float, recipe: Recipe, data: Counts | Dataset, visual_tokens: int
) -> float:
    """Hours of one GPU; flops: of a position."""
    positions = min(visual_tokens + TEXT_TOKENS, recipe.max_length)
    return flops * positions * samples(recipe, data.samples) / _rate(cluster) / 3600


def _rate(cluster: Cluster) -> float:
    """FLOP/s of one GPU."""
    return cluster.tflops * 1e12 * cluster.utilisation


def _possible(needed: int, batch_size: int, per_node: int) -> int:
    """The smallest number of GPUs, at least `needed`, that divides the batch and fills its nodes."""
    for gpus in range(needed, batch_size + 1):
        if batch_size % gpus == 0 and (gpus <= per_node or gpus % per_node == 0):
            return gpus
    raise UserError(
        f"a training needs at least {needed} GPUs, but no such number, in whole nodes of {per_node}, "
        f"divides its batch of {batch_size}. Change batch_size, or cluster.gpu_memory_gb, gpus_per_node "
        "and hours to what your cluster has."
    )


def _request(cluster: Cluster, gpus: int, parameters: float, minutes: float) -> Request:
    nodes = math.ceil(gpus / cluster.gpus_per_node)
    return Request(
        gpus=gpus,
        nodes=nodes,
        tasks=max(2, cluster.gpus_per_node),  # Slurm's executor refuses one
        cpus=cluster.cpus_per_gpu * (1 if nodes > 1 else gpus),
        # Snakemake, and for each process the interpreter, its data, and the weights as they are read.
        mem_mb=4_000 + gpus // nodes * (8_000 + round(_FROZEN_BYTES * parameters / 1e6)),
        minutes=_START_MINUTES + math.ceil(_MARGIN * minutes),
        max_minutes=round(60 * cluster.max_hours),
    )
