"""Removing tokens between layers of an LLM, so that the later layers and their cache are shorter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers import Cache
from transformers.cache_utils import DynamicLayer

# b sequences, s positions of which some are removed, k the most that one sequence keeps, q queries


@dataclass(frozen=True)
class KeptTokens:
    """The positions that each sequence keeps, in their order; rows that keep fewer are padded."""

    index: Tensor  # (b, k)
    real: Tensor  # (b, k) bool, False where a row is padded
    positions: int  # s

    @classmethod
    def of(cls, keep: Tensor) -> "KeptTokens":
        """Keep the positions where `keep` (b, s) is true."""
        counts = keep.sum(dim=1)
        most = int(counts.max())
        index = (~keep).byte().argsort(dim=1, stable=True)[:, :most]
        return cls(index, torch.arange(most, device=keep.device) < counts[:, None], keep.shape[1])

    def select(self, values: Tensor) -> Tensor:
        """Take what is kept: (b or 1, s, n) -> (b, k, n)."""
        values = values.expand(len(self.index), -1, -1)
        return values.take_along_dim(rearrange(self.index, "b k -> b k 1"), dim=1)

    def select_flags(self, flags: Tensor) -> Tensor:
        """Take the flags (b, s) of what is kept, False where a row is padded: (b, k)."""
        return flags.gather(1, self.index) & self.real

    def restore(self, values: Tensor) -> Tensor:
        """Put what was kept at its place, zeros elsewhere: (b, k, n) -> (b, s, n)."""
        whole = values.new_zeros(len(values), self.positions, values.shape[-1])
        index = rearrange(self.index, "b k -> b k 1").expand_as(values)
        return whole.scatter_add(1, index, values * self.real[..., None])

    def select_rows(self, mask: Tensor) -> Tensor:
        """Take the queries that are kept: (b, 1, s, keys) -> (b, 1, k, keys)."""
        index = rearrange(self.index, "b k -> b 1 k 1")
        return mask.expand(len(self.index), -1, -1, -1).take_along_dim(index, dim=2)

    def select_columns(self, mask: Tensor) -> Tensor:
        """Take the kept keys and those after the first s: (b, 1, q, s + r) -> (b, 1, q, k + r)."""
        mask = mask.expand(len(self.index), -1, -1, -1)
        index, real = (rearrange(each, "b k -> b 1 1 k") for each in (self.index, self.real))
        kept = mask[..., : self.positions].take_along_dim(index, dim=3)
        kept = kept.masked_fill(~real, torch.finfo(mask.dtype).min)
        return torch.cat([kept, mask[..., self.positions :]], dim=3)


def can_remove(cache: Cache | None, layer: int) -> bool:
    """Return whether the keys and values of `layer` in `cache` may be fewer than those of layers before.

    So it is without a cache, and in one that grows and holds nothing of that layer.
    """
    if cache is None:
        return True
    grows = all(type(each) is DynamicLayer for each in cache.layers)
    return grows and cache.get_seq_length(layer) == 0


@dataclass(frozen=True)
class Renumbering:
    """Position ids that close the gaps of tokens which a layer no longer reads."""

    rotary: nn.Module  # of the LLM: gives cosines and sines of position ids
    fall: Tensor  # (b, s), by how much each id falls; (b, 1) for positions after the prompt

    def rotate(self, hidden: Tensor, position_ids: Tensor) -> dict[str, Any]:
        """Return the arguments of a layer that hold position ids (b, s), and what follows from them."""
        position_ids = position_ids - self.fall
        return {
            "position_ids": position_ids,
            "position_embeddings": self.rotary(hidden, position_ids),
        }


def remove_tokens(
    layers: Sequence[nn.Module], kept: KeptTokens, renumbering: Renumbering | None = None
) -> list[RemovableHandle]:
    """Let `layers`, the last ones of an LLM, compute only what is `kept` of its pass; return the hooks.

    The pass's output has all positions, zeros where they were removed. Positions keep their rotation
    unless they are renumbered. A later call may remove more of the same pass, from a later layer on.
    """

    def shorten(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = kept.select_columns(kept.select_rows(kwargs["attention_mask"]))
        rotation = tuple(kept.select(each) for each in kwargs["position_embeddings"])
        position_ids = kept.select(rearrange(kwargs["position_ids"], "b s -> b s 1"))
        changed = {"attention_mask": mask, "position_embeddings": rotation}
        return (kept.select(args[0]), *args[1:]), changed | {"position_ids": position_ids[..., 0]}

    def lengthen(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return kept.restore(output)

    hooks = _change_arguments(layers, shorten, renumbering)
    # What was removed last is put back first.
    return [*hooks, layers[-1].register_forward_hook(lengthen, prepend=True)]


def continue_without(
    layers: Sequence[nn.Module], kept: KeptTokens, renumbering: Renumbering | None = None
) -> list[RemovableHandle]:
    """Let `layers` continue a cache that holds only what was `kept`; return the hooks."""

    def narrow(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {"attention_mask": kept.select_columns(kwargs["attention_mask"])}

    return _change_arguments(layers, narrow, renumbering)


def hide_tokens(
    layers: Sequence[nn.Module], hidden: Tensor, renumbering: Renumbering | None = None
) -> list[RemovableHandle]:
    """Mask the `hidden` positions (b, s) from the attention of `layers`; return the hooks."""

    def mask_hidden(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = kwargs["attention_mask"]
        columns = functional.pad(hidden, (0, mask.shape[-1] - hidden.shape[1]))
        columns = rearrange(columns, "b k -> b 1 1 k")
        return args, {"attention_mask": mask.masked_fill(columns, torch.finfo(mask.dtype).min)}

    return _change_arguments(layers, mask_hidden, renumbering)


def _change_arguments(
    layers: Sequence[nn.Module],
    change: Callable[[Any, dict[str, Any]], tuple[Any, dict[str, Any]]],
    renumbering: Renumbering | None,
) -> list[RemovableHandle]:
    """Let `change` give `layers` other arguments, once a pass, by those of the first; return the hooks."""
    changed: dict[str, Any] = {}

    def give(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if module is layers[0]:
            numbered = renumbering.rotate(args[0], kwargs["position_ids"]) if renumbering else {}
            args, others = change(args, kwargs | numbered)
            changed.update(numbered | others)
        return args, kwargs | changed

    return [layer.register_forward_pre_hook(give, with_kwargs=True) for layer in layers]
