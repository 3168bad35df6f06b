"""FastV: the LLM's first layers attend to every patch, the others only to the most attended ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from vlmscale.errors import UserError
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# b sequences, t positions of a pass, k keys (with what is cached), s positions of the prompt, h heads


class FastV(Projector):
    """Pruning inside the LLM: its third and later layers attend only to the v visual tokens that the
    second layer attends to most. Needs no training: a projector for all patches serves it.

    Chen et al. 2024, arXiv 2403.06764; pkunlp-icler/FastV llama/fastv_forward.py. As there, the
    attention mask hides tokens: the result equals removing them, the time does not. Written from its
    description. Differences: each sequence of a batch has its own choice, wherever its image stands,
    and padding stays hidden; the last token of the prompt chooses once, where the released code
    chooses again at every generated token; of equal attention the earlier patch wins; an LLM of two
    layers is pruned in its second.
    """

    source = "FastV, arXiv 2403.06764"
    needs = ("llm_attention",)
    counts = "any"
    options: ClassVar = {"training": ("free",)}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "p*(d*n + n*n)"
    positions = "((2 - 2//m)*p + (m - 2 + 2//m)*v)/m"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.patches = widths.grid_side**2
        self.mlp = build_mlp(widths.tower, widths.llm)
        # The hidden positions of the prompts, (b, s) bool, by the cache of their generation.
        self.hidden_positions: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()

    @property
    def placeholders(self) -> int:
        """Return all patches: every one enters the LLM."""
        return self.patches

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, p, n)."""
        return self.mlp(features.patches)

    @contextmanager
    def hook_llm(self, llm: nn.Module, places: Tensor | None) -> Iterator[None]:
        """Hide all but v visual tokens of each image from layer 2 of `llm` on, counted from 0.

        The last attended position within `places` (b, s) chooses: positions of the pass beyond s have
        been generated. A pass that continues a cache hides what its prefill hid.
        """
        layers = llm.get_submodule("layers").children()
        attentions = [layer.get_submodule("self_attn") for layer in layers]
        if len(attentions) < 2:
            raise UserError(
                "fastv: the LLM has 1 layer, but one layer must choose the visual tokens for the "
                "next ones. Take an LLM of two layers or more."
            )
        start = min(2, len(attentions) - 1)
        chosen: Tensor | None = None

        def choose(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            nonlocal chosen
            assert places is not None
            chosen = self.find_overlooked(output[1], kwargs["attention_mask"], places)
            if kwargs["past_key_values"] is not None:
                self.hidden_positions[kwargs["past_key_values"]] = chosen

        def hide(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
            hidden, cache = chosen, kwargs["past_key_values"]
            if hidden is None and cache is not None:
                hidden = self.hidden_positions.get(cache)
            if hidden is None:
                return None
            mask = kwargs["attention_mask"]
            hidden = functional.pad(hidden, (0, mask.shape[-1] - hidden.shape[1]))
            mask = mask.masked_fill(
                rearrange(hidden, "b k -> b 1 1 k"), torch.finfo(mask.dtype).min
            )
            return args, {**kwargs, "attention_mask": mask}

        hooks = [
            module.register_forward_pre_hook(hide, with_kwargs=True)
            for module in attentions[start:]
        ]
        if places is not None:
            hooks.append(attentions[start - 1].register_forward_hook(choose, with_kwargs=True))
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
