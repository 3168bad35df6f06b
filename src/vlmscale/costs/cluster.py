"""A cluster's machines, and what a job requests of them. Nothing here decides a result."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import Field

from vlmscale.settings import Frozen

# An estimate covers arithmetic alone; start-up, loading, saving and data come on top.
_MARGIN, _START_MINUTES = 2.0, 30


class Cluster(Frozen):
    """The machines of a cluster. They change no result, and nothing on a single machine."""

    gpu_memory_gb: float = Field(80, ge=1, le=10_000, description="memory of one GPU")
    gpus_per_node: int = Field(8, ge=1, le=1000, description="GPUs of one node")
    cpus_per_gpu: int = Field(8, ge=1, le=1000, description="cores for each GPU of a job")
    tflops: float = Field(312, ge=0.001, le=1_000_000, description="bf16 peak of one GPU, TFLOP/s")
    utilisation: float = Field(
        0.26,
        ge=0.001,
        le=1,
        description="share of that peak that a training reaches; LLaVA-1.5's own reached 0.26 on A100s",
    )
    hours: float = Field(12, ge=1e-9, le=10_000, description="a longer training gets more GPUs")
    max_hours: float = Field(
        24,
        ge=0.1,
        le=10_000,
        description="longest job the partition allows; longer trainings take several",
    )

    def gpu_hours(self, flops: float) -> float:
        """Return the hours that one GPU takes for `flops`, without any margin."""
        return flops / (self.tflops * 1e12 * self.utilisation) / 3600

    def possible_gpus(self, batch_size: int) -> list[int]:
        """Return the numbers of GPUs that divide a batch and, from two nodes on, fill whole nodes."""
        node = self.gpus_per_node
        counts = [*range(1, min(node, batch_size) + 1), *range(2 * node, batch_size + 1, node)]
        return [gpus for gpus in counts if batch_size % gpus == 0]


@dataclass(frozen=True)
class Request:
    """A job that computes for `hours` on `gpus` and loads a model of `parameters`."""

    cluster: Cluster
    gpus: int  # in total
    hours: float  # without any margin
    parameters: float
    checkpointing: bool | None = None  # of activations, where planning decides it

    @property
    def nodes(self) -> int:
        return math.ceil(self.gpus / self.cluster.gpus_per_node)

    @property
    def minutes(self) -> int:
        """The time of the first attempt; `max_hours` may allow less."""
        return _START_MINUTES + math.ceil(_MARGIN * 60 * self.hours)

    @property
    def mem_mb(self) -> int:
        """The main memory of each node at the first attempt.

        Snakemake, and for each process the interpreter, its data, and the weights in 16 bits.
        """
        return 4_000 + self.gpus // self.nodes * (8_000 + round(2 * self.parameters / 1e6))

    def resources(self, attempt: int) -> dict[str, int | str | None]:
        """Return what an attempt requests, by the names that Snakemake's executors know; None: nothing.

        Time and memory grow with the attempt, in case a lack of one of them ended the attempt before.
        """
        several = self.nodes > 1
        chosen: dict[str, int | str | None] = {}
        if self.checkpointing is not None:
            chosen["activation_checkpointing"] = int(self.checkpointing)
        return chosen | {
            "gpus": self.gpus,  # for scripts
            "gpu": self.gpus,  # for executors
            "nodes": self.nodes,
            # A job on several nodes starts its processes itself; Slurm's executor wants to know by what.
            "mpi": "srun" if several else None,
            # Of several nodes, one for each GPU; Slurm's executor refuses one.
            "tasks_per_node": max(2, self.cluster.gpus_per_node),
            "cpus_per_task": self.cluster.cpus_per_gpu * (1 if several else self.gpus),
            "mem_mb": self.mem_mb * (1 + attempt) // 2,
            "runtime": min(self.minutes * attempt, round(60 * self.cluster.max_hours)),
        }


def constant_resources(requests: Collection[Request]) -> dict[str, int | str | None]:
    """Return the resources with the same value for every request and attempt."""
    each = [request.resources(attempt) for request in set(requests) for attempt in (1, 2)]
    return {name: each[0][name] for name in each[0] if len({one[name] for one in each}) == 1}
