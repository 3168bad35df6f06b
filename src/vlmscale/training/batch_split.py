"""How a global batch is dealt out to processes and passes. Needs no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vlmscale.errors import UserError


@dataclass(frozen=True)
class Share:
    """Every optimiser step, each process goes through the model `passes` times, forward and back."""

    batch_size: int  # samples of an optimiser step, all processes together
    processes: int
    passes: int

    @property
    def samples(self) -> int:
        """The most that a process takes at once."""
        return -(-self.batch_size // (self.processes * self.passes))

    def parts(self, batch: Sequence[int], process: int) -> Iterator[Sequence[int]]:
        """What `process` takes in each of its passes. A short batch, an epoch's last, may leave nothing."""
        parts = self.processes * self.passes
        for part in range(process * self.passes, (process + 1) * self.passes):
            yield batch[part * len(batch) // parts : (part + 1) * len(batch) // parts]


def share(batch_size: int, processes: int, micro_batch_size: int | None) -> Share:
    """The share that gives the recipe's batch in the fewest passes of at most `micro_batch_size` samples.

    Raises UserError when `processes` cannot have equal shares, naming the numbers that can.
    """
    if batch_size % processes:
        able = ", ".join(str(n) for n in range(1, batch_size + 1) if batch_size % n == 0)
        raise UserError(
            f"{processes} processes cannot have equal shares of a batch of {batch_size}. "
            f"Ask for one of: {able}."
        )
    own = batch_size // processes
    return Share(batch_size, processes, -(-own // min(micro_batch_size or own, own)))
