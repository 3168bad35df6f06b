"""Causal attention among tokens of sequences of different lengths, without padding or a mask of scores.

Packed attention works on runs: consecutive queries of which each attends to what the one before it does,
and to itself. A run of queries and the keys of its last query are what kernels for sequences of different
lengths take (torch.nn.attention.varlen). A sequence is one run; turns apart are about one each.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

# b sequences, c chosen tokens of all sequences, w the most chosen in one sequence, q queries among the c,
# h heads of queries, g heads of keys, d width of a head

Packing = Literal["padded", "packed"]
_HALF = (torch.bfloat16, torch.float16)
_WIDEST_HEAD = 256  # of torch's kernel, and a multiple of 8


def choose_packing(hidden: Tensor, *, head_width: int, dropout: float) -> Packing:
    """Return "packed" where torch has a kernel for it: CUDA from compute capability 8, in 16 bits."""
    fits = head_width % 8 == 0 and head_width <= _WIDEST_HEAD and dropout == 0
    if hidden.device.type == "cuda" and fits and find_dtype(hidden) in _HALF:
        return "packed" if _has_kernel(hidden.device) else "padded"
    return "padded"


def find_dtype(hidden: Tensor) -> torch.dtype:
    """Return the type that matrix products of `hidden` are computed in."""
    kind = hidden.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return hidden.dtype


@cache
def _has_kernel(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


@dataclass(frozen=True)
class PackedAttention:
    """Attention within runs of c tokens. Run i has queries ends[i] to ends[i + 1], and keys by key_ends."""

    ends: Tensor  # (runs + 1,) int32, from 0
    key_ends: Tensor
    keys: Tensor | None  # places of the runs' keys among the c; None: each once, in order
    most_queries: int  # of a run
    most_keys: int

    @classmethod
    def of_sequences(cls, lengths: Tensor, longest: int) -> "PackedAttention":
        """Make each sequence one run; lengths (b,) are their tokens."""
        ends = _add_up(lengths)
        return cls(ends, ends, None, longest, longest)

    @classmethod
    def of_mask(
        cls, attended: Tensor, lengths: Tensor, sequence: Tensor, slot: Tensor
    ) -> "PackedAttention":
        """Find the runs of c tokens, each in a `slot` of a `sequence`, (c,) each.

        attended: bool (b, w, w), which slots each slot attends to: itself always, none after it.
        lengths (b,): the slots of each sequence that hold tokens.
        """
        rows = attended[sequence, slot]
        own = torch.arange(attended.shape[-1], device=slot.device) == slot[:, None]
        continues = ((rows.roll(1, 0) | own) == rows).all(dim=1) & (sequence == sequence.roll(1))
        first = torch.arange(len(slot), device=slot.device) == 0
        starts = (first | ~continues).nonzero()[:, 0]
        numbers = torch.diff(starts, append=starts.new_full((1,), len(slot)))
        last = starts + numbers - 1
        key_sets = rows[last]
        run, key_slot = key_sets.nonzero().unbind(1)
        places = _add_up(lengths)[sequence[last]][run] + key_slot
        of_keys = key_sets.sum(dim=1)
        most = torch.stack([numbers.max(), of_keys.max()]).tolist()
        return cls(_add_up(numbers), _add_up(of_keys), places, *most)

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, dropout: float
    ) -> Tensor:
        """Attend from query (c, h, d) to key and value (c, g, d): (c, h, d).

        Raises ValueError for dropout, which the kernel lacks.
        """
        if dropout:
            raise ValueError("packed attention has no dropout; use padded attention")
        query, key, value = (each.to(find_dtype(each)) for each in (query, key, value))
        if self.keys is not None:
            key, value = key.index_select(0, self.keys), value.index_select(0, self.keys)
        attend = self._attend_by_run if query.device.type == "cpu" else self._attend_by_kernel
        return attend(query, key, value, scale)

    def _attend_by_kernel(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        found = varlen_attn(
            query,
            key,
            value,
            self.ends,
            self.key_ends,
            self.most_queries,
            self.most_keys,
            scale=scale,
            window_size=(-1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        assert isinstance(found, Tensor)  # a pair where log-sums are asked for
        return found

    def _attend_by_run(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Compute what the kernel does, run by run, as torch has that kernel on GPUs only."""
        shared = query.shape[1] // key.shape[1]
        sizes = [ends.diff().tolist() for ends in (self.ends, self.key_ends)]
        runs = zip(query.split(sizes[0]), key.split(sizes[1]), value.split(sizes[1]), strict=True)
        found = []
        for q, k, v in runs:
            k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
            before = len(k) - len(q)
            mask = torch.ones(len(q), len(k), dtype=torch.bool).tril(before)
            q, k, v = (each.transpose(0, 1) for each in (q, k, v))
            values = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
            found.append(values.transpose(0, 1))
        return torch.cat(found)


def _add_up(numbers: Tensor) -> Tensor:
    """Return the ends of consecutive ranges of these lengths, 0 first: (n,) -> int32 (n + 1,)."""
    return functional.pad(numbers.cumsum(0), (1, 0)).int()
