"""Orders of the samples: random, or grouped by modality and length as in LLaVA-1.5's stage 2."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DistributedSampler


class GroupedSampler(DistributedSampler[int]):
    """The order of `group_samples`, drawn anew for each epoch; the same in all processes with one seed."""

    def __init__(self, lengths: Sequence[int], *, micro_batch: int, parts: int, seed: int) -> None:
        super().__init__(lengths, 1, 0, seed=seed)  # type: ignore[arg-type]  # it takes their number
        self.lengths, self.micro_batch, self.parts = lengths, micro_batch, parts

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(
            group_samples(
                self.lengths, micro_batch=self.micro_batch, parts=self.parts, generator=generator
            )
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
        order = torch.randperm(len(members), generator=generator).tolist()
        batches = [
            _balance([members[i] for i in order[start : start + size]], lengths, parts)
            for start in range(0, len(order), size)
        ]
        full += batches[:-1]
        rest += batches[-1] if batches else []
    full = [full[i] for i in torch.randperm(len(full), generator=generator).tolist()]
    return [i for batch in (*full, rest) for i in batch]


def _balance(batch: list[int], lengths: Sequence[int], parts: int) -> list[int]:
    """Assign a batch, longest sample first, to the shortest of `parts` micro-batches with room."""
    batch = sorted(batch, key=lambda i: -abs(lengths[i]))
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
