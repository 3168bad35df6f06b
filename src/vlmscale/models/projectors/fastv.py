"""FastV: the LLM's first layers attend to every patch, the others only to the most attended ones."""

from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.layer_pruning import LayerPruning, LayerState, keep_highest
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
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
    kept = "p"  # each question chooses anew

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.patches = widths.grid_side**2
        self.mlp = build_mlp(widths.tower, widths.llm)
        self.pruning = LayerPruning("fastv", removes=setting.options["pruning"] == "remove")

    @property
    def placeholders(self) -> int:
        """Return all patches: every one enters the LLM."""
        return self.patches

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, p, n)."""
        return self.mlp(features.patches)

    def hook_llm(self, llm: nn.Module, places: Tensor | None) -> AbstractContextManager[None]:
        """Remove all but v visual tokens of each image from layer 2 of `llm` on, counted from 0.

        The last attended position within `places` (b, s) chooses: positions of the pass beyond s have
        been generated. A pass that continues a cache goes without what its prefill removed or hid.
        """
        return self.pruning.prune(
            llm, places, lambda layers: [(min(2, layers - 1), self.visual_tokens)], keep_attended
        )


def keep_attended(state: LayerState, count: int) -> Tensor:
    """Return which `count` visual tokens the prompt's last position attends to most: (b, t) bool."""
    last = state.last
    row = state.attention[torch.arange(len(last), device=last.device), :, last]  # (b, h, k)
    score = row[..., : state.visual.shape[1]].float().mean(dim=1)
    return keep_highest(score, state.visual, count)
