"""Orders of the samples: by chance, and that of LLaVA-1.5's stage 2, where samples of one modality and
of like length share a batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class ShuffledSampler(Sampler[int]):
    """By chance, another order for each epoch; the same in every process with the same seed."""

    def __init__(self, samples: int, *, seed: int) -> None:
        self.samples, self.seed, self.epoch = samples, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, a resumed one included."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(torch.randperm(self.samples, generator=generator).tolist())

    def __len__(self) -> int:
        return self.samples


class GroupedSampler(Sampler[int]):
    """`grouped_order`, another one for each epoch; the same in every process with the same seed."""

    def __init__(self, lengths: Sequence[int], *, micro_batch: int, parts: int, seed: int) -> None:
        self.lengths, self.micro_batch, self.parts = lengths, micro_batch, parts
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, a resumed one included."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(
            grouped_order(
                self.lengths, micro_batch=self.micro_batch, parts=self.parts, generator=generator
            )
        )

    def __len__(self) -> int:
        return len(self.lengths)


def grouped_order(
    lengths: Sequence[int], *, micro_batch: int, parts: int, generator: torch.Generator
) -> list[int]:
    """Every index of `lengths` once, to be read off in micro-batches.

    lengths: words of each sample, negative for text alone. A global batch has `parts` micro-batches
    (processes times accumulated steps), all of one modality and of nearly the same sum of lengths. The last
    batch of either modality, which may not be full, comes at the end, images first: at most one
    batch has both. (The released code mixes all of these by index.)
    """
    size = micro_batch * parts
    whole: list[list[int]] = []
    left: list[int] = []
    for shown in (True, False):
        members = [i for i, length in enumerate(lengths) if (length > 0) == shown]
        shuffled = torch.randperm(len(members), generator=generator).tolist()
        batches = [
            _balanced(sorted(batch, key=lambda i: -abs(lengths[i])), lengths, parts)
            for batch in _cut([members[i] for i in shuffled], size)
        ]
        whole += batches[:-1]
        left += batches[-1] if batches else []
    whole = [whole[i] for i in torch.randperm(len(whole), generator=generator).tolist()]
    return [i for batch in (*whole, left) for i in batch]


def _cut(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _balanced(batch: list[int], lengths: Sequence[int], parts: int) -> list[int]:
    """A batch, longest first, dealt to `parts` micro-batches: each to the shortest with room."""
    if len(batch) % parts:
        return [i for part in range(parts) for i in batch[part::parts]]
    room = len(batch) // parts
    dealt: list[list[int]] = [[] for _ in range(parts)]
    sums = [0] * parts
    for i in batch:
        part = min((p for p in range(parts) if len(dealt[p]) < room), key=sums.__getitem__)
        dealt[part].append(i)
        sums[part] += abs(lengths[i])
    return [i for part in dealt for i in part]
