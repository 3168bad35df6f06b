"""Tokens chosen from padded sequences, and rows taken and put at distinct places."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# b sequences, t tokens of each, c chosen tokens of all sequences, w the most chosen in one sequence


def pick_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """Return the values where `mask` (b, t) is true, sequence by sequence: (b, t, ...) -> (c, ...)."""
    return TakeRows.apply(values.flatten(0, 1), mask.flatten().nonzero()[:, 0])


@dataclass(frozen=True)
class ChosenTokens:
    """Chosen tokens of padded sequences, and their places when only they are padded, on the right."""

    chosen: Tensor  # (c,) of b t
    padded: Tensor  # (c,) of b w
    sequences: int  # b
    length: int  # t
    width: int  # w, at least one

    @classmethod
    def of(cls, mask: Tensor) -> "ChosenTokens":
        """Choose the tokens where `mask` (b, t) is true."""
        width = max(1, int(mask.sum(dim=1).max()))
        rows = torch.arange(len(mask), device=mask.device)[:, None]
        chosen = mask.flatten().nonzero()[:, 0]
        padded = (rows * width + mask.cumsum(dim=1) - 1).flatten()[chosen]
        return cls(chosen, padded, len(mask), mask.shape[1], width)

    def pick(self, values: Tensor) -> Tensor:
        """Take the chosen tokens out of all: (b, t, ...) -> (c, ...)."""
        return TakeRows.apply(values.flatten(0, 1), self.chosen)

    def spread(self, values: Tensor) -> Tensor:
        """Pad the chosen tokens with zeros: (c, ...) -> (b, w, ...)."""
        rows = PutRows.apply(values, self.padded, self.sequences * self.width)
        return rows.unflatten(0, (self.sequences, self.width))

    def gather(self, values: Tensor) -> Tensor:
        """Undo `spread`: (b, w, ...) -> (c, ...)."""
        return TakeRows.apply(values.flatten(0, 1), self.padded)


class TakeRows(torch.autograd.Function):
    """Rows at distinct indices. Torch's own indexing would accumulate their gradients one by one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(values)
        return values.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return PutRows.apply(gradient, index, ctx.rows), None


class PutRows(torch.autograd.Function):
    """`rows` rows of zeros with `values` at these indices. Torch's own would keep `values` for backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(index)
        return values.new_zeros(rows, *values.shape[1:]).index_copy_(0, index, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return TakeRows.apply(gradient, index), None, None
