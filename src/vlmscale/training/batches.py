"""The batches of an optimisation, as each process takes them: the same whatever their number."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from vlmscale.errors import UserError
from vlmscale.jobs.import_server import die_with_parent
from vlmscale.training.batch_split import Share

# Samples to model inputs. What is drawn for a batch comes from the generator, which starts alike for
# all its parts and whenever it is learned again.
Collate = Callable[[list[Any], np.random.Generator], dict[str, Any]]


class Order(Protocol):
    """Positions in the dataset, all of them once; depends on seed and epoch alone."""

    seed: int
    epoch: int

    def set_epoch(self, epoch: int) -> None: ...
    def __iter__(self) -> Iterator[int]: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Part:
    """What a process takes at once, a part of a batch."""

    samples: Sequence[int]  # positions in the dataset, perhaps none
    batch: tuple[int, ...]  # names the batch: seed, epoch, number


class Batches(DataLoader[Any]):
    """A process's parts of each batch of an epoch, made by `workers` processes ahead of their use."""

    def __init__(
        self,
        dataset: Dataset[Any],
        collate: Collate,
        share: Share,
        order: Order,
        *,
        process: int,
        workers: int,
        pin_memory: bool,
    ) -> None:
        self.parts = _Parts(order, share, process)
        super().__init__(
            _Taken(dataset, collate),
            batch_sampler=self.parts,  # type: ignore[arg-type]  # parts stand for lists of positions
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            num_workers=workers,
            # Some of what they have tokenised serves the next epoch, too.
            persistent_workers=workers > 0,
            worker_init_fn=_heed_parent_alone,
            # It draws the seeds of workers, which nobody uses: from torch's own, how many there are would
            # change what else is drawn from that.
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int) -> None:
        self.parts.set_epoch(epoch)


class _Parts(Sampler[Part]):
    def __init__(self, order: Order, share: Share, process: int) -> None:
        self.order, self.share, self.process = order, share, process

    # Trainer calls it here, and not on Batches, when it goes on amid an epoch.
    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return ceil(len(self.order) / self.share.batch_size) * self.share.passes

    def __iter__(self) -> Iterator[Part]:
        order, size = list(self.order), self.share.batch_size
        for number, start in enumerate(range(0, len(order), size)):
            for taken in self.share.parts(order[start : start + size], self.process):
                yield Part(taken, (self.order.seed, self.order.epoch, number))


class _Taken(Dataset[Any]):
    """Model inputs by part."""

    def __init__(self, dataset: Dataset[Any], collate: Collate) -> None:
        self.dataset, self.collate = dataset, collate

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitems__(self, part: Part) -> dict[str, Any] | UserError:
        """An error is handed over (see `taken`): raised by a worker, it would come with its traceback."""
        try:
            return self.collate(self._samples(part), np.random.default_rng(part.batch))
        except UserError as error:
            return error

    def _samples(self, part: Part) -> list[Any]:
        # Together where the dataset can, as torch's own loader asks for them.
        together = getattr(self.dataset, "__getitems__", None)
        return together(part.samples) if together else [self.dataset[i] for i in part.samples]


def taken(inputs: dict[str, Any] | UserError) -> dict[str, Any]:
    """What `Batches` has made. Raises UserError where a sample could not be read."""
    if isinstance(inputs, UserError):
        raise inputs
    return inputs


def _as_it_is(inputs: Any) -> Any:
    return inputs


def _heed_parent_alone(worker: int) -> None:
    """End with the process that trains, or at its SIGTERM, and at no other's: Slurm sends one to all
    processes of a job, but a worker is needed until a checkpoint has been saved.
    """
    if sys.platform == "linux":
        parent, asked = multiprocessing.parent_process(), {signal.SIGTERM}
        assert parent is not None
        signal.pthread_sigmask(signal.SIG_BLOCK, asked)
        die_with_parent()
        if os.getppid() != parent.pid:
            os._exit(0)  # it has died already

        def heed() -> None:
            while signal.sigwaitinfo(asked).si_pid != parent.pid:
                pass
            os._exit(0)

        threading.Thread(target=heed, daemon=True).start()
