"""Removing tokens between two layers of an LLM, so that the later layers and their cache are shorter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
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


def remove_tokens(layers: Sequence[nn.Module], kept: KeptTokens) -> list[RemovableHandle]:
    """Let `layers`, the last ones of an LLM, compute only what is `kept` of its pass; return the hooks.

    The pass's output has all positions, zeros where they were removed. Positions keep their rotation.
    """
    shortened: dict[str, Any] = {}  # the same for all layers of the pass

    def shorten(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if module is layers[0]:
            args = (kept.select(args[0]), *args[1:])
            mask = kept.select_columns(kept.select_rows(kwargs["attention_mask"]))
            rotation = tuple(kept.select(each) for each in kwargs["position_embeddings"])
            shortened.update(attention_mask=mask, position_embeddings=rotation)
        return args, {**kwargs, **shortened}

    def lengthen(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return kept.restore(output)

    hooks = [layer.register_forward_pre_hook(shorten, with_kwargs=True) for layer in layers]
    return [*hooks, layers[-1].register_forward_hook(lengthen)]


def continue_without(layers: Sequence[nn.Module], kept: KeptTokens) -> list[RemovableHandle]:
    """Let `layers` continue a cache that holds only what was `kept`; return the hooks."""
    narrowed: dict[str, Any] = {}  # the same for all layers of the pass

    def narrow(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if module is layers[0]:
            narrowed["attention_mask"] = kept.select_columns(kwargs["attention_mask"])
        return args, {**kwargs, **narrowed}

    return [layer.register_forward_pre_hook(narrow, with_kwargs=True) for layer in layers]
