"""Split every global batch into the micro-batches of all ranks and passes. Needs no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlmscale.errors import UserError


@dataclass(frozen=True)
class BatchSplit:
    """A global batch, split over `world_size` ranks with `passes` forward and backward passes each."""

    batch_size: int  # samples of an optimiser step, over all ranks
    world_size: int
    passes: int

    @property
    def micro_batch_size(self) -> int:
        """The largest number of samples that one rank handles per pass."""
        return -(-self.batch_size // (self.world_size * self.passes))

    def micro_batches(self, batch: Sequence[int], rank: int) -> Iterator[Sequence[int]]:
        """Yield the samples of each pass of `rank`. An epoch's short last batch may leave a pass none."""
        parts = self.world_size * self.passes
        for part in range(rank * self.passes, (rank + 1) * self.passes):
            yield batch[part * len(batch) // parts : (part + 1) * len(batch) // parts]


def split_batch(batch_size: int, world_size: int, micro_batch_size: int | None) -> BatchSplit:
    """Split the recipe's batch into the fewest passes of at most `micro_batch_size` samples (None: any).

    Raises UserError when `world_size` does not divide `batch_size`, naming the numbers that do.
    """
    if batch_size % world_size:
        divisors = ", ".join(str(n) for n in range(1, batch_size + 1) if batch_size % n == 0)
        raise UserError(
            f"{world_size} processes cannot share a batch of {batch_size} samples equally. "
            f"Request one of: {divisors}."
        )
    own = batch_size // world_size
    return BatchSplit(batch_size, world_size, -(-own // min(micro_batch_size or own, own)))
