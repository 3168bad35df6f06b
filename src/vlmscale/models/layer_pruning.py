"""Pruning visual tokens between the layers of an LLM: how many are left from which layer on.

A method says which tokens stay; here they leave the pass, its cache, and every pass that continues it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers.models.llama.modeling_llama import rotate_half

from vlmscale.errors import UserError
from vlmscale.models.token_removal import (
    KeptTokens,
    Renumbering,
    can_remove,
    continue_without,
    hide_tokens,
    remove_tokens,
)

# b sequences, t positions that are left of a pass, k keys (with what is cached), s positions of the prompt,
# h heads, e their width, n LLM width, a all positions of a pass


@dataclass(frozen=True)
class LayerState:
    """What a method may choose by, between two layers of a pass."""

    hidden: Tensor  # (b, t, n), what the layer `after` will read
    inputs: Tensor  # (b, t, n), what the attention of the layer `before` has read
    attention: Tensor  # (b, h, t, k), its weights
    rotation: tuple[Tensor, Tensor]  # cosines and sines of the positions, (b or 1, t, e)
    mask: Tensor  # (b, 1, t, k), 0 where there may be attention
    visual: Tensor  # (b, t) bool, the visual tokens that are left
    prompt: Tensor  # (b, t) bool, positions of the prompt that are left, without padding
    before: nn.Module
    after: nn.Module
    llm: nn.Module  # with the parts `norm` and `rotary_emb`
    embeddings: Tensor  # (b, a, n), what the LLM's first layer has read
    image: Tensor  # (b, a) bool, all visual tokens
    index: Tensor  # (b, t), which of all positions are left

    @property
    def last(self) -> Tensor:
        """The last position of each prompt, (b,)."""
        places = torch.arange(self.prompt.shape[1], device=self.prompt.device)
        return (self.prompt * places).amax(dim=1)

    @property
    def text_after_image(self) -> Tensor:
        """The prompt's positions behind its last visual token, (b, t) bool."""
        behind = self.visual.flip(1).cumsum(dim=1).flip(1) == 0
        return self.prompt & behind


# Returns which of the visual tokens stay, (b, t) bool, when so many shall be left.
Choose = Callable[[LayerState, int], Tensor]


@dataclass(frozen=True)
class _Cut:
    """What one pruning took out of a prompt, for the passes that continue it."""

    start: int  # the first layer without it
    removed: Tensor  # (b, t) bool
    kept: KeptTokens | None  # None where it is only hidden
    fall: Tensor  # (b, 1), the number of removed tokens


class LayerPruning:
    """Prunes the passes of an LLM for one method, and remembers by their cache what they lack."""

    def __init__(self, method: str, *, removes: bool, renumbers: bool = False) -> None:
        self.method = method
        self.removes = removes  # else tokens are hidden, as in caches of a fixed length
        self.renumbers = renumbers  # whether positions close up
        self.cuts: WeakKeyDictionary[Any, list[_Cut]] = WeakKeyDictionary()

    @contextmanager
    def prune(
        self,
        llm: nn.Module,
        places: Tensor | None,
        find_stages: Callable[[int], Sequence[tuple[int, int]]],
        choose: Choose,
    ) -> Iterator[None]:
        """Prune one pass of `llm`: as Projector.hook_llm, whose `places` these are.

        find_stages: of the number of layers, pairs (layer, count): that many visual tokens are left from
        that layer on, counted from 0. Of several at one layer the last one counts. A pass that continues a
        cache goes without what its prefill removed or hid. Raises UserError for an LLM of one layer.
        """
        layers = list(llm.get_submodule("layers").children())
        if len(layers) < 2:
            raise UserError(
                f"{self.method}: the LLM has 1 layer, but one layer must choose the visual tokens for the "
                "next ones. Take an LLM of two layers or more."
            )
        rotary = llm.get_submodule("rotary_emb") if self.renumbers else None
        hooks: list[RemovableHandle] = []

        def resume(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            cache = kwargs["past_key_values"]
            for cut in [] if cache is None else self.cuts.get(cache, []):
                numbers = Renumbering(rotary, cut.fall) if rotary else None
                if cut.kept is not None:
                    hooks.extend(continue_without(layers[cut.start :], cut.kept, numbers))
                else:
                    hooks.extend(hide_tokens(layers[cut.start :], cut.removed, numbers))

        if places is None:
            hooks.append(layers[0].register_forward_pre_hook(resume, with_kwargs=True))
        else:
            # The whole pass, and of all that is left of it the visual tokens, the prompt, and the places.
            left = {"visual": places, "prompt": torch.ones_like(places)}

            def begin(module: nn.Module, args: Any) -> None:
                rows, length = args[0].shape[:2]
                grown = length - places.shape[1]  # what has been generated
                left.update({name: functional.pad(each, (0, grown)) for name, each in left.items()})
                index = torch.arange(length, device=places.device).expand(rows, -1)
                left.update(embeddings=args[0].detach(), image=left["visual"], index=index)

            hooks.append(layers[0].register_forward_pre_hook(begin))
            for start, count in dict(find_stages(len(layers))).items():
                hooks += self._watch(llm, layers, start, count, left, choose, rotary, hooks)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _watch(
        self,
        llm: nn.Module,
        layers: list[nn.Module],
        start: int,
        count: int,
        left: dict[str, Tensor],
        choose: Choose,
        rotary: nn.Module | None,
        hooks: list[RemovableHandle],
    ) -> list[RemovableHandle]:
        """Prune before layer `start`, once the one before it has run; return the hooks that wait for it."""
        before, after = layers[start - 1], layers[start]
        read: dict[str, Any] = {}

        def note(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            read.update(kwargs, attention=output[1])

        def cut(module: nn.Module, args: Any, output: Tensor) -> None:
            if read["attention"] is None:
                raise UserError(
                    f'{self.method} reads the LLM\'s attention: set its implementation to "eager"'
                )
            mask, cache = read["attention_mask"], read["past_key_values"]
            visual, prompt = left["visual"], left["prompt"]
            # A position attends to itself unless it is padding, on whichever side.
            real = torch.diagonal(mask[:, 0], dim1=1, dim2=2) == 0
            state = LayerState(
                output.detach(),
                read["hidden_states"].detach(),
                read["attention"],
                read["position_embeddings"],
                mask,
                visual,
                prompt & real,
                before,
                after,
                llm,
                left["embeddings"],
                left["image"],
                left["index"],
            )
            read.clear()
            with torch.no_grad():
                stay = visual & choose(state, count)
            removed = visual & ~stay
            numbers = Renumbering(rotary, removed.cumsum(dim=1)) if rotary else None
            kept = None
            if self.removes and can_remove(cache, start) and not removed.is_meta:
                if not removed.any():
                    return
                kept = KeptTokens.of(~removed)
                hooks.extend(remove_tokens(layers[start:], kept, numbers))
                left.update(visual=kept.select_flags(stay), prompt=kept.select_flags(prompt))
                left["index"] = left["index"].gather(1, kept.index)
            else:
                hooks.extend(hide_tokens(layers[start:], removed, numbers))
                left.update(visual=stay, prompt=prompt & ~removed)
            if cache is not None:
                fall = removed.sum(dim=1, keepdim=True)
                self.cuts.setdefault(cache, []).append(_Cut(start, removed, kept, fall))

        attention = before.get_submodule("self_attn")
        return [
            attention.register_forward_hook(note, with_kwargs=True),
            before.register_forward_hook(cut),
        ]


def share_equally(patches: int, visual_tokens: int) -> tuple[int, int, int]:
    """Return how many patches each of three stages leaves, by equal shares, until `visual_tokens` stay."""
    share = visual_tokens / patches
    first, second = (int(patches * share ** (power / 3) + 0.5) for power in (1, 2))
    return first, second, visual_tokens


def keep_highest(score: Tensor, visual: Tensor, count: int) -> Tensor:
    """Return which `count` of the visual tokens (b, t) score highest, (b, t) bool; of equals the first."""
    # A stable sort breaks ties the same way on every device.
    order = score.masked_fill(~visual, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return visual & (order.argsort(dim=1) < count)


def project_heads(
    layer: nn.Module, kind: str, normed: Tensor, rotation: tuple[Tensor, Tensor]
) -> Tensor:
    """Compute a layer's queries ("q") or keys ("k") of normed states (b, t, n), rotated: (b, h, t, e)."""
    attention: Any = layer.get_submodule("self_attn")
    projected = attention.get_submodule(f"{kind}_proj")(normed)
    heads = rearrange(projected, "b t (h e) -> b h t e", e=attention.head_dim)
    if hasattr(attention, f"{kind}_norm"):
        heads = attention.get_submodule(f"{kind}_norm")(heads)
    cos, sin = (rearrange(each, "b t e -> b 1 t e") for each in rotation)
    return heads * cos + rotate_half(heads) * sin
