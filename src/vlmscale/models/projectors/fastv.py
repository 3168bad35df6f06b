"""FastV: the LLM's first layers attend to every patch, the others only to the most attended ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from vlmscale.errors import UserError
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.models.token_removal import KeptTokens, can_remove, continue_without, remove_tokens
from vlmscale.settings import Setting

# b sequences, t positions of a pass, k keys (with what is cached), s positions of the prompt, h heads


class FastV(Projector):
    """Pruning inside the LLM: its third and later layers attend only to the v visual tokens that the
    second layer attends to most. Needs no training: a projector for all patches serves it.

    Chen et al. 2024, arXiv 2403.06764; pkunlp-icler/FastV llama/fastv_forward.py. There, the attention
    mask hides tokens, which saves no time; here they are removed from later layers and their cache, with
    the same answers. `pruning: hide` hides them, and so do caches of a fixed length. Written from its
    description. Differences: each sequence of a batch has its own choice, wherever its image stands,
    and padding stays hidden; the last token of the prompt chooses once, where the released code
    chooses again at every generated token; of equal attention the earlier patch wins; an LLM of two
    layers is pruned in its second.
    """

    source = "FastV, arXiv 2403.06764"
    needs = ("llm_attention",)
    counts = "any"
    options: ClassVar = {"training": ("free",), "pruning": ("remove", "hide")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "p*(d*n + n*n)"
    positions = "((2 - 2//m)*p + (m - 2 + 2//m)*v)/m"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.patches = widths.grid_side**2
        self.mlp = build_mlp(widths.tower, widths.llm)
        self.removes = setting.options["pruning"] == "remove"
        # By the cache of their generation: the hidden positions of the prompts, (b, s) bool, or what is
        # left of them.
        self.hidden_positions: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()
        self.kept_tokens: WeakKeyDictionary[Any, KeptTokens] = WeakKeyDictionary()

    @property
    def placeholders(self) -> int:
        """Return all patches: every one enters the LLM."""
        return self.patches

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, p, n)."""
        return self.mlp(features.patches)

    @contextmanager
    def hook_llm(self, llm: nn.Module, places: Tensor | None) -> Iterator[None]:
        """Remove all but v visual tokens of each image from layer 2 of `llm` on, counted from 0.

        The last attended position within `places` (b, s) chooses: positions of the pass beyond s have
        been generated. A pass that continues a cache goes without what its prefill removed or hid.
        """
        layers = list(llm.get_submodule("layers").children())
        if len(layers) < 2:
            raise UserError(
                "fastv: the LLM has 1 layer, but one layer must choose the visual tokens for the "
                "next ones. Take an LLM of two layers or more."
            )
        start = min(2, len(layers) - 1)
        hooks: list[RemovableHandle] = []

        def choose(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            assert places is not None
            mask, cache = kwargs["attention_mask"], kwargs["past_key_values"]
            hidden = self.find_overlooked(output[1], mask, places)
            if self.removes and can_remove(cache, start) and not hidden.is_meta:
                if not hidden.any():
                    return
                kept = KeptTokens.of(~functional.pad(hidden, (0, mask.shape[-1] - hidden.shape[1])))
                hooks.extend(remove_tokens(layers[start:], kept))
                if cache is not None:
                    self.kept_tokens[cache] = kept
            else:
                hooks.extend(_hide(layers[start:], hidden))
                if cache is not None:
                    self.hidden_positions[cache] = hidden

        def resume(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            cache = kwargs["past_key_values"]
            if cache is not None and cache in self.kept_tokens:
                hooks.extend(continue_without(layers[start:], self.kept_tokens[cache]))
            elif cache is not None and cache in self.hidden_positions:
                hooks.extend(_hide(layers[start:], self.hidden_positions[cache]))

        if places is None:
            hooks.append(layers[0].register_forward_pre_hook(resume, with_kwargs=True))
        else:
            chooser = layers[start - 1].get_submodule("self_attn")
            hooks.append(chooser.register_forward_hook(choose, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def find_overlooked(self, attention: Tensor | None, mask: Tensor, places: Tensor) -> Tensor:
        """Return which visual tokens are not among the v most attended ones: (b, s) bool.

        attention (b, h, t, k); mask (b, 1, t, k), 0 where there may be attention; places (b, s).
        """
        if attention is None:
            raise UserError('fastv reads the LLM\'s attention: set its implementation to "eager"')
        prompts, s = places.shape
        # A position attends to itself unless it is padding, on whichever side.
        real = torch.diagonal(mask[:, 0], dim1=1, dim2=2)[:, :s] == 0
        last = (real * torch.arange(s, device=real.device)).amax(dim=1)
        row = attention.detach()[torch.arange(prompts, device=last.device), :, last]
        score = row[..., :s].float().mean(dim=1).masked_fill(~places, -1)
        # A stable sort breaks ties the same way on every device.
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return places & (rank >= self.visual_tokens)


def _hide(layers: Sequence[nn.Module], hidden: Tensor) -> list[RemovableHandle]:
    """Mask the `hidden` positions (b, s) from the attention of `layers`; return the hooks."""
    masked: dict[str, Any] = {}  # the same for all layers of the pass

    def mask_hidden(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if module is layers[0]:
            mask = kwargs["attention_mask"]
            columns = functional.pad(hidden, (0, mask.shape[-1] - hidden.shape[1]))
            columns = rearrange(columns, "b k -> b 1 1 k")
            masked["attention_mask"] = mask.masked_fill(columns, torch.finfo(mask.dtype).min)
        return args, {**kwargs, **masked}

    return [layer.register_forward_pre_hook(mask_hidden, with_kwargs=True) for layer in layers]
