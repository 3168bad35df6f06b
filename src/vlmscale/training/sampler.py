"""Orders of the samples: random, or grouped by modality and length as in LLaVA-1.5's stage 2."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """An order drawn anew for each epoch; the same in every process with the same seed."""

    def __init__(self, samples: int, seed: int) -> None:
        self.samples, self.seed, self.epoch = samples, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of `epoch`. Trainer calls this before each epoch, also a resumed one."""
        self.epoch = epoch

    def draw(self, generator: torch.Generator) -> list[int]:
        """Return the order that `generator` leads to."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw(torch.Generator().manual_seed(self.seed + self.epoch)))

    def __len__(self) -> int:
        return self.samples


class ShuffledSampler(EpochSampler):
    """A random order of `samples` samples."""

    def __init__(self, samples: int, *, seed: int) -> None:
        super().__init__(samples, seed)

    def draw(self, generator: torch.Generator) -> list[int]:
        return torch.randperm(self.samples, generator=generator).tolist()


class GroupedSampler(EpochSampler):
    """The order of `group_samples`."""

    def __init__(self, lengths: Sequence[int], *, micro_batch: int, parts: int, seed: int) -> None:
        super().__init__(len(lengths), seed)
        self.lengths, self.micro_batch, self.parts = lengths, micro_batch, parts

    def draw(self, generator: torch.Generator) -> list[int]:
        return group_samples(
            self.lengths, micro_batch=self.micro_batch, parts=self.parts, generator=generator
        )


def group_samples(
    lengths: Sequence[int], *, micro_batch: int, parts: int, generator: torch.Generator
) -> list[int]:
    """Order the indices of `lengths` so that consecutive micro-batches make up grouped global batches.

    lengths: words of each sample, negative for text alone. A global batch has `parts` micro-batches
    (ranks times passes), all of one modality and of nearly equal sums of lengths. The last batch of
    either modality, which may be short, comes at the end, images first: at most one batch mixes both.
    (The released code mixes all of these by index.)
    """
    size = micro_batch * parts
    full: list[list[int]] = []
    rest: list[int] = []
    for with_image in (True, False):
        members = [i for i, length in enumerate(lengths) if (length > 0) == with_image]
        shuffled = torch.randperm(len(members), generator=generator).tolist()
        batches = [
            _balance(sorted(batch, key=lambda i: -abs(lengths[i])), lengths, parts)
            for batch in _chunk([members[i] for i in shuffled], size)
        ]
        full += batches[:-1]
        rest += batches[-1] if batches else []
    full = [full[i] for i in torch.randperm(len(full), generator=generator).tolist()]
    return [i for batch in (*full, rest) for i in batch]


def _chunk(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _balance(batch: list[int], lengths: Sequence[int], parts: int) -> list[int]:
    """Assign a batch, longest sample first, to the shortest of `parts` micro-batches with room."""
    if len(batch) % parts:
        return [i for part in range(parts) for i in batch[part::parts]]
    room = len(batch) // parts
    assigned: list[list[int]] = [[] for _ in range(parts)]
    sums = [0] * parts
    for i in batch:
        part = min((p for p in range(parts) if len(assigned[p]) < room), key=sums.__getitem__)
        assigned[part].append(i)
        sums[part] += abs(lengths[i])
    return [i for part in assigned for i in part]
