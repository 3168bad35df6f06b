"""What the LLM is given for a batch: a method may rewrite it before the LLM reads it."""

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from vlmscale.errors import UserError

# b sequences, i of them with an image of p patches, t positions of a pass, k keys: the cached ones and
# these t; n LLM width


@dataclass(frozen=True)
class LlmInput:
    """The input of a pass over prompts with visual tokens."""

    embeds: Tensor  # (b, t, n)
    places: Tensor  # (b, t) bool, the positions of visual tokens
    # Which keys are no padding, (b, k), or which ones each position attends to, (b, 1, t, k); None: all.
    attention_mask: Tensor | None
    position_ids: Tensor | None  # (b, t); None: keys are counted
    cached: int  # k - t
    instructions: (
        Tensor  # (b, t) bool, text that is no padding, no answer to learn and not generated
    )
    context: Tensor | None  # (i, p, n) of i images, what the projector's make_context returned
    # Keys that no text after the image attends to, (b, k) bool. They are not kept with the image.
    hidden: Tensor | None = None

    def build_mask(self) -> Tensor | None:
        """Return attention_mask, as (b, 1, t, k) without what is `hidden` if anything is.

        A position attends to itself, also if it is padding.
        """
        if self.hidden is None:
            return self.attention_mask
        mask, t, keys = unwrap(self.attention_mask), self.places.shape[1], self.hidden.shape[1]
        if mask is None or mask.ndim == 2:
            pairs = torch.ones(t, keys, dtype=torch.bool, device=self.places.device)
            causal = pairs.tril(keys - t)
            real = causal if mask is None else causal & rearrange(mask.bool(), "b k -> b 1 k")
            mask = rearrange(real | (causal & pairs.triu(keys - t)), "... t k -> ... 1 t k")
        number = self.places.cumsum(dim=1)
        after = (number > 0) & (number == number[:, -1:]) & ~self.places
        hidden = functional.pad(self.hidden, (0, mask.shape[-1] - keys))  # a cache may have room
        return _clear(
            mask, rearrange(after, "b t -> b 1 t 1") & rearrange(hidden, "b k -> b 1 1 k")
        )


def hide_keys(mask: Tensor | None, hidden: Tensor, keys: int) -> Tensor:
    """Hide the first keys of a cache, where `hidden` (b, s), from a pass over generated text.

    mask: as of LlmInput, None for `keys` keys that are no padding.
    """
    mask = unwrap(mask)
    if mask is None:
        mask = hidden.new_ones(len(hidden), keys)
    hidden = functional.pad(hidden, (0, mask.shape[-1] - hidden.shape[1]))
    return _clear(mask, hidden if mask.ndim == 2 else rearrange(hidden, "b k -> b 1 1 k"))


def unwrap(mask: Any) -> Tensor | None:
    """Return the mask of layers without windows; with a static cache generate() gives masks by kind."""
    return mask["full_attention"] if isinstance(mask, dict) else mask


def as_pairs(mask: Tensor, t: int) -> Tensor:
    """Return which of the first t keys each position attends to: (b, 1, t, k) -> (b, t, t) bool."""
    pairs = mask[:, 0, :, :t]
    return pairs == 0 if pairs.is_floating_point() else pairs


def select_instructions(text: Tensor, attention_mask: Any, prompt_length: int | None) -> Tensor:
    """Return which positions of `text` (b, t) bool are of the prompt, and no padding."""
    t, mask = text.shape[1], unwrap(attention_mask)
    if mask is not None and mask.ndim == 2:
        text = text & mask[:, -t:].bool()
    elif mask is not None and prompt_length is not None:  # padding is on the left, and seen by none
        text = text & as_pairs(mask, t)[:, -1]
    if prompt_length is not None:
        text = text & (torch.arange(t, device=text.device) < prompt_length)
    return text


def adapt_mask(mask: Tensor | None, llm: Any, method: str) -> Tensor | None:
    """Return a mask of queries and keys as the LLM's attention reads it.

    Raises UserError for attention that would ignore it.
    """
    kind = llm.config._attn_implementation
    windows = "sliding_attention" in (getattr(llm.config, "layer_types", None) or ())
    if kind not in ("sdpa", "eager") or windows:
        raise UserError(
            f"{method} hides parts of the prompt, which an LLM with "
            f"{'sliding windows' if windows else f'{kind} attention'} does not take. Use one without "
            'windows, with attn_implementation="sdpa".'
        )
    if mask is None or mask.dtype != torch.bool or kind == "sdpa":
        return mask
    scores = torch.zeros_like(mask, dtype=llm.dtype)
    return scores.masked_fill(~mask, torch.finfo(llm.dtype).min)


def _clear(mask: Tensor, hidden: Tensor) -> Tensor:
    """Take `hidden` out of a mask of bools or integers, or of one that is added to scores."""
    if mask.is_floating_point():
        return mask.masked_fill(hidden, torch.finfo(mask.dtype).min)
    return mask & ~hidden if mask.dtype == torch.bool else mask.masked_fill(hidden, 0)
