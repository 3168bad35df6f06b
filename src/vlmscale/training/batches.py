"""The batches of an optimisation, as each process takes them: the same whatever their number."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from vlmscale.training.share import Share

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
            # What they have tokenised serves the next epoch, too.
            persistent_workers=workers > 0,
            worker_init_fn=_heed_parent_alone,
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

    def __getitems__(self, part: Part) -> dict[str, Any]:
        # Together where the dataset can, as torch's own loader asks for them.
        together = getattr(self.dataset, "__getitems__", None)
        samples = together(part.samples) if together else [self.dataset[i] for i in part.samples]
        return self.collate(samples, np.random.default_rng(part.batch))


def _as_it_is(inputs: Any) -> Any:
    return inputs


def _heed_parent_alone(worker: int) -> None:
    """End at a SIGTERM of the process that trains, and of no other: Slurm sends it to all processes of a
    job, but this one is needed until a checkpoint has been saved.
    """
    if sys.platform == "linux":
        asked, parent = {signal.SIGTERM}, os.getppid()
        signal.pthread_sigmask(signal.SIG_BLOCK, asked)

        def heed() -> None:
            while signal.sigwaitinfo(asked).si_pid != parent:
                pass
            os._exit(0)

        threading.Thread(target=heed, daemon=True).start()
