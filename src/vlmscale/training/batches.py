"""Load the micro-batches of one rank. A global batch is the same for every number of ranks."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from vlmscale.errors import UserError
from vlmscale.jobs.import_server import die_with_parent
from vlmscale.training.batch_split import BatchSplit
from vlmscale.training.sampler import EpochSampler

# Samples to model inputs. Random choices for a batch come from the generator, which starts in the same
# state for all micro-batches of a global batch, also after a resume.
Collate = Callable[[list[Any], np.random.Generator], dict[str, Any]]


@dataclass(frozen=True)
class MicroBatch:
    """The samples that one rank handles in one pass."""

    samples: Sequence[int]  # positions in the dataset, perhaps none
    batch: tuple[int, ...]  # identifies the global batch: seed, epoch, number


class Batches(DataLoader[Any]):
    """The model inputs of a rank's micro-batches of an epoch, loaded ahead by `workers` processes.

    Yields the UserError itself where a sample cannot be read (see `raise_if_error`).
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        collate: Collate,
        split: BatchSplit,
        order: EpochSampler,
        *,
        rank: int,
        workers: int,
        pin_memory: bool,
    ) -> None:
        self.micro_batches = _MicroBatches(order, split, rank)
        super().__init__(
            _Inputs(dataset, collate),
            batch_sampler=self.micro_batches,  # type: ignore[arg-type]  # they replace lists of positions
            collate_fn=_return_unchanged,
            pin_memory=pin_memory,
            num_workers=workers,
            # Workers keep tokenised samples for the next epoch.
            persistent_workers=workers > 0,
            worker_init_fn=_stop_only_with_parent,
            # DataLoader draws a seed per worker. From torch's default generator, the number of workers
            # would change all later random numbers.
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch."""
        self.micro_batches.set_epoch(epoch)


class _MicroBatches(Sampler[MicroBatch]):
    def __init__(self, order: EpochSampler, split: BatchSplit, rank: int) -> None:
        self.order, self.split, self.rank = order, split, rank

    # Trainer calls this method, and not that of Batches, when it resumes within an epoch.
    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return ceil(len(self.order) / self.split.batch_size) * self.split.passes

    def __iter__(self) -> Iterator[MicroBatch]:
        order, size = list(self.order), self.split.batch_size
        for number, start in enumerate(range(0, len(order), size)):
            for samples in self.split.micro_batches(order[start : start + size], self.rank):
                yield MicroBatch(samples, (self.order.seed, self.order.epoch, number))


class _Inputs(Dataset[Any]):
    """Model inputs by micro-batch."""

    def __init__(self, dataset: Dataset[Any], collate: Collate) -> None:
        self.dataset, self.collate = dataset, collate

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitems__(self, micro_batch: MicroBatch) -> dict[str, Any] | UserError:
        """Return an error instead of raising it: a worker would add its traceback."""
        try:
            samples = self._load(micro_batch.samples)
            return self.collate(samples, np.random.default_rng(micro_batch.batch))
        except UserError as error:
            return error

    def _load(self, positions: Sequence[int]) -> list[Any]:
        # All at once where the dataset can, as torch's own fetcher does.
        load_all = getattr(self.dataset, "__getitems__", None)
        return load_all(positions) if load_all else [self.dataset[i] for i in positions]


def raise_if_error(inputs: dict[str, Any] | UserError) -> dict[str, Any]:
    """Return what `Batches` yields, or raise it where it is an error."""
    if isinstance(inputs, UserError):
        raise inputs
    return inputs


def _return_unchanged(inputs: Any) -> Any:
    return inputs


def _stop_only_with_parent(worker: int) -> None:
    """Let a worker end with the training process or at its SIGTERM, and ignore SIGTERM from others.

    Slurm sends SIGTERM to all processes of a job, but training needs its workers until it has saved.
    """
    if sys.platform == "linux":
        parent, signals = multiprocessing.parent_process(), {signal.SIGTERM}
        assert parent is not None
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        die_with_parent()
        if os.getppid() != parent.pid:
            os._exit(0)  # the parent died before die_with_parent took effect

        def await_parent_signal() -> None:
            while signal.sigwaitinfo(signals).si_pid != parent.pid:
                pass
            os._exit(0)

        threading.Thread(target=await_parent_signal, daemon=True).start()
