"""A cluster's machines, and what a job requests of them. Nothing here decides a result."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import Field, PositiveInt

from vlmscale.settings import Frozen

# The names that Snakemake and its executors for Slurm and Kubernetes know.
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
# An estimate covers arithmetic alone; start-up, loading, saving and data come on top.
_MARGIN, _START_MINUTES = 2.0, 30


class Cluster(Frozen):
    """The machines of a cluster. They change no result, and nothing on a single machine."""

    gpu_memory_gb: float = Field(80, gt=0, description="memory of one GPU")
    gpus_per_node: PositiveInt = Field(8, description="GPUs of one node")
    cpus_per_gpu: PositiveInt = Field(8, description="cores for each GPU of a job")
    tflops: float = Field(312, gt=0, description="bf16 peak of one GPU, TFLOP/s")
    utilisation: float = Field(
        0.26,
        gt=0,
        le=1,
        description="share of that peak that a training reaches; LLaVA-1.5's own reached 0.26 on A100s",
    )
    hours: float = Field(12, gt=0, description="a longer training gets more GPUs")
    max_hours: float = Field(
        24, gt=0, description="longest job the partition allows; a longer training takes several"
    )

    def gpu_hours(self, flops: float) -> float:
        """Return the hours that one GPU takes for `flops`, without any margin."""
        return flops / (self.tflops * 1e12 * self.utilisation) / 3600

    def possible_gpus(self, batch_size: int) -> list[int]:
        """Return the numbers of GPUs that divide a batch and, from two nodes on, fill whole nodes."""
        return [
            gpus
            for gpus in range(1, batch_size + 1)
            if batch_size % gpus == 0
            and (gpus <= self.gpus_per_node or gpus % self.gpus_per_node == 0)
        ]

    def request(self, gpus: int, hours: float, parameters: float) -> "Request":
        """Return the request of a job that computes for `hours` and loads a model of `parameters`."""
        nodes = math.ceil(gpus / self.gpus_per_node)
        return Request(
            gpus=gpus,
            nodes=nodes,
            tasks=max(2, self.gpus_per_node),  # Slurm's executor refuses one
            cpus=self.cpus_per_gpu * (1 if nodes > 1 else gpus),
            # Snakemake, and for each process the interpreter, its data, and the weights in 16 bits.
            mem_mb=4_000 + gpus // nodes * (8_000 + round(2 * parameters / 1e6)),
            minutes=_START_MINUTES + math.ceil(_MARGIN * 60 * hours),
            max_minutes=round(60 * self.max_hours),
        )


@dataclass(frozen=True)
class Request:
    """What the first attempt of a job requests."""

    gpus: int  # in total
    nodes: int
    tasks: int  # of each node, if there are several: one for each GPU; on one the job is one task
    cpus: int  # of each task
    mem_mb: int  # main memory of each node
    minutes: int
    max_minutes: int

    def resources(self, attempt: int) -> dict[str, int | str | None]:
        """Return what an attempt requests, by RESOURCES; None where it requests nothing.

        Time and memory grow with the attempt, in case a lack of one of them ended the attempt before.
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


def constant_resources(requests: Collection[Request]) -> dict[str, int | str | None]:
    """Return the resources with the same value for every request and attempt, by RESOURCES."""
    each = [request.resources(attempt) for request in set(requests) for attempt in (1, 2)]
    return {name: each[0][name] for name in RESOURCES if len({one[name] for one in each}) == 1}
