"""Load the micro-batches of one rank. A global batch is the same for every number of ranks."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, default_convert

from vlmscale.errors import UserError
from vlmscale.jobs.import_server import die_with_parent
from vlmscale.training.batch_split import BatchSplit

# Samples to model inputs. Random choices for a batch come from the generator, which starts in the same
# state for all micro-batches of a global batch, also after a resume.
Collate = Callable[[list[Any], np.random.Generator], dict[str, Any]]
# Seconds without a batch after which a worker counts as hanging.
_TIMEOUT = 900
_AHEAD = 2  # batches that each worker loads ahead

# Positions in the dataset of the samples that one rank handles in one pass, perhaps none, and what
# identifies their global batch: seed, epoch, number.
MicroBatch = tuple[Sequence[int], tuple[int, int, int]]


class Batches(DataLoader[Any]):
    """The model inputs of a rank's micro-batches of an epoch, loaded ahead by `workers` processes.

    Yields the UserError itself where a sample cannot be read (see `raise_errors`).
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        collate: Collate,
        split: BatchSplit,
        order: DistributedSampler[int],
        *,
        rank: int,
        workers: int,
        pin_memory: bool,
    ) -> None:
        self.micro_batches = _MicroBatches(order, split, rank)
        self.inputs = _Inputs(dataset, collate)
        super().__init__(
            self.inputs,
            batch_sampler=self.micro_batches,  # type: ignore[arg-type]  # they replace lists of positions
            collate_fn=default_convert,
            pin_memory=pin_memory,
            num_workers=workers,
            prefetch_factor=_AHEAD if workers else None,
            # Workers keep tokenised samples for the next epoch.
            persistent_workers=workers > 0,
            timeout=_TIMEOUT if workers else 0,
            worker_init_fn=_stop_only_with_parent,
            # DataLoader draws a seed per worker. From torch's default generator, the number of workers
            # would change all later random numbers.
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch."""
        self.micro_batches.set_epoch(epoch)

    def check_shared_memory(self, available: int) -> None:
        """Raise UserError unless what workers load ahead fits into `available` bytes of /dev/shm.

        Linux shares tensors between processes there; where it is full, a worker's batch never arrives.
        """
        if self.num_workers == 0:
            return
        samples = len(self.inputs)
        probe = range(0, samples, -(-samples // 8))
        (inputs,) = raise_errors(iter([self.inputs.__getitems__((probe, (0, 0, 0)))]))
        tensors = [value for value in inputs.values() if isinstance(value, torch.Tensor)]
        share = self.micro_batches.split.micro_batch_size / len(probe)
        micro_batch = sum(
            ceil(tensor.nbytes * share / 4096) * 4096 for tensor in tensors
        )  # in pages
        workers = self.num_workers * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if (needed := workers * (_AHEAD + 1) * micro_batch) > available:
            raise UserError(
                f"{workers} worker processes load up to {needed / 1e6:,.0f} MB ahead, but /dev/shm has "
                f"{available / 1e6:,.0f} MB left. Give it more (docker run --shm-size=8g), or lower "
                "execution.workers; 0 needs none."
            )


class _MicroBatches(Sampler[MicroBatch]):
    def __init__(self, order: DistributedSampler[int], split: BatchSplit, rank: int) -> None:
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
                yield samples, (self.order.seed, self.order.epoch, number)


class _Inputs(Dataset[Any]):
    """Model inputs by micro-batch."""

    def __init__(self, dataset: Dataset[Any], collate: Collate) -> None:
        self.dataset, self.collate = dataset, collate

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitems__(self, micro_batch: MicroBatch) -> dict[str, Any] | UserError:
        """Return an error instead of raising it: a worker would add its traceback."""
        positions, batch = micro_batch
        # All samples at once where the dataset can, as torch's own fetcher does.
        load_all = getattr(
            self.dataset, "__getitems__", lambda positions: [self.dataset[i] for i in positions]
        )
        try:
            return self.collate(load_all(positions), np.random.default_rng(batch))
        except UserError as error:
            return error


def raise_errors(batches: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """Yield what `Batches` yields, and raise where it is an error."""
    for inputs in batches:
        if isinstance(inputs, UserError):
            raise inputs
        yield inputs


@contextmanager
def name_lost_workers() -> Iterator[None]:
    """Raise UserError where a worker dies or hangs, which torch raises at any point of the block."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # Torch has no class of its own for these, and a dying worker cuts its connection first.
        lost = ("DataLoader worker", "DataLoader timed out")
        if isinstance(error, RuntimeError) and not str(error).startswith(lost):
            raise
        raise UserError(
            f"loading training data failed: {str(error).strip()} The cause, such as no memory left, stands "
            "above. Run again to resume, perhaps with fewer execution.workers."
        ) from None


def _stop_only_with_parent(worker: int) -> None:
    """Let a worker end with the training process or at its SIGTERM, and ignore SIGTERM from others.

    Slurm sends SIGTERM to all processes of a job, but training needs its workers until it has saved.
    """
    if sys.platform != "linux":
        return
    parent, signals = os.getppid(), {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    die_with_parent()

    def await_parent_signal() -> None:
        while signal.sigwaitinfo(signals).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=await_parent_signal, daemon=True).start()
