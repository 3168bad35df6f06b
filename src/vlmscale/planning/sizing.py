"""GPUs of each training: the fewest that hold its step and end it within `cluster.hours`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

from vlmscale.costs.cluster import Cluster
from vlmscale.costs.memory import USABLE, GpuMemory, Layout, gpu_memory
from vlmscale.errors import UserError
from vlmscale.planning.trainings import ASSUMED, Assumptions, estimate_training, training_id
from vlmscale.settings import STAGES, Stage
from vlmscale.study.grid import Run
from vlmscale.study.schema import Study

_ZERO = (2, 3)


@dataclass(frozen=True)
class TrainingSize:
    """A number of GPUs that a training can run on."""

    gpus: int
    hours: float  # of arithmetic on all of them, without any margin
    layout: Layout
    memory: GpuMemory  # on each of them

    def fits(self, cluster: Cluster) -> bool:
        """Return whether a GPU holds a step, a tenth of its memory left to CUDA and fragmentation."""
        return self.memory.total <= USABLE * cluster.gpu_memory_gb * 1e9


def size_trainings(
    study: Study, runs: Iterable[Run], assumed: Assumptions = ASSUMED
) -> dict[tuple[Stage, str], TrainingSize | UserError]:
    """Return the smallest size of every training that fits study.cluster, by stage and id.

    Where none does, return the error, with the changes of the config that would help. Seeds change nothing:
    an error names the first.
    """
    alike: dict[tuple[str, ...], TrainingSize | UserError] = {}
    sizes = {}
    for run in runs:
        for stage in STAGES:
            budget = run.budget if stage == "stage2" else ""
            kind = (stage, run.llm, run.method, str(run.visual_tokens), budget)
            if kind not in alike:
                training = _Training(study, stage, run, assumed)
                alike[kind] = training.find_smallest() or training.refuse()
            sizes[stage, training_id(stage, run)] = alike[kind]
    return sizes


class _Training:
    """A training whose execution may be varied."""

    def __init__(self, study: Study, stage: Stage, run: Run, assumed: Assumptions) -> None:
        self.study, self.stage, self.run, self.cluster = study, stage, run, study.cluster
        self.recipe = study.get_recipe(stage, run.budget)
        self.variant = study.find_variant(run.method)
        flops = estimate_training(study, stage, run, assumed).flops
        self.gpu_hours = study.cluster.gpu_hours(flops)

    def list_sizes(self, **changed: Any) -> Iterator[TrainingSize]:
        """Yield every possible size, the smallest first, with some keys of `execution` changed.

        With activation_checkpointing "auto", each number of GPUs comes without it, then with it. Each GPU
        has to hold `micro_batch_size` samples, even where its share of the batch is smaller: a step that is
        too large is no reason to request hundreds of GPUs.
        """
        study, run, batch = self.study, self.run, self.recipe.batch_size
        execution = self.recipe.execution.model_copy(update=changed)
        copies = self.variant.method.count_copies(study.tower_shape.grid_side, self.stage)
        checkpointing = execution.activation_checkpointing
        choices = [False, True] if checkpointing == "auto" else [checkpointing]
        for gpus, checkpointing in product(self.cluster.possible_gpus(batch), choices):
            micro_batch = min(execution.micro_batch_size or batch // gpus, batch)
            layout = Layout(
                gpus=gpus,
                zero=execution.zero,
                sequences=copies * micro_batch,
                passes=-(-(batch // gpus) // micro_batch),
                max_length=self.recipe.max_length,
                checkpointing=checkpointing,
            )
            memory = gpu_memory(
                study.decoders[run.llm],
                study.tower_shape,
                self.variant.method.name,
                run.visual_tokens,
                self.stage,
                layout,
                self.variant.options,
            )
            yield TrainingSize(gpus, self.gpu_hours / gpus, layout, memory)

    def find_smallest(self, **changed: Any) -> TrainingSize | None:
        """Return the smallest size that fits, with some keys of `execution` changed."""
        for size in self.list_sizes(**changed):
            if size.hours <= self.cluster.hours and size.fits(self.cluster):
                return size
        return None

    def refuse(self) -> UserError:
        """Return the error that says why no size fits, its time or its memory, and what would fit."""
        cluster, now = self.cluster, self.recipe.execution.activation_checkpointing
        sizes = list(self.list_sizes(activation_checkpointing=bool(now)))
        in_time = [size for size in sizes if size.hours <= cluster.hours]
        ways = self.list_executions_that_fit()
        if in_time:
            least = in_time[0]
            why = (
                f"needs {least.memory.total / 1e9:.0f} GB on each of {_count(least.gpus)}, "
                f"{least.memory.activations / 1e9:.0f} GB of it activations of "
                f"{least.layout.sequences} sequences, and too much on more GPUs, too; "
                f"of {cluster.gpu_memory_gb:g} GB, {USABLE * cluster.gpu_memory_gb:.0f} can be used."
            )
            ways.append(f"{_count(least.gpus)} of {_least_gb(least)} GB")
        else:
            most = sizes[-1]
            why = (
                f"takes {most.hours:.3g} hours on {_count(most.gpus)}, the most that divide its batch of "
                f"{self.recipe.batch_size} in whole nodes of {cluster.gpus_per_node}; cluster.hours is "
                f"{cluster.hours:g}."
            )
            longer = [ceil(size.hours) for size in sizes if size.fits(cluster)]
            needed = "" if longer else f" and GPUs of {_least_gb(most)} GB"
            ways.append(f"cluster.hours: {min(longer, default=ceil(most.hours))}{needed}")
        name = f"{training_id(self.stage, self.run)}, {self.stage}"
        return UserError(f"{name}: {why} What would fit: {'; or '.join(ways)}.")

    def list_executions_that_fit(self) -> list[str]:
        """Return changes of `execution` that each suffice, of each kind the smallest; else all at once."""
        now = self.recipe.execution
        most = min(now.micro_batch_size or self.recipe.batch_size, self.recipe.batch_size)
        kinds: list[list[dict[str, Any]]] = [
            [{"activation_checkpointing": True}] if not now.activation_checkpointing else [],
            [{"zero": n} for n in _ZERO if n > now.zero],
            [{"micro_batch_size": most // 2**i} for i in range(1, most.bit_length())],
        ]
        everything = {"zero": 3, "activation_checkpointing": True, "micro_batch_size": 1}
        ways = [way for kind in kinds for way in self._first_that_fits(kind)]
        return ways or self._first_that_fits([everything])

    def _first_that_fits(self, changes: Iterable[dict[str, Any]]) -> list[str]:
        for change in changes:
            if size := self.find_smallest(**change):
                keys = [f"{key}: {str(value).lower()}" for key, value in change.items()]
                return [f"{' and '.join(keys)} on {_count(size.gpus)}"]
        return []


def _count(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def _least_gb(size: TrainingSize) -> int:
    """Return the memory of a GPU that could hold it."""
    return ceil(size.memory.total / USABLE / 1e9)
