"""DART: after the LLM's second layer, visual tokens that repeat a few pivots least are left."""

from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from vlmscale.models.features import VisionFeatures
from vlmscale.models.layer_pruning import LayerPruning, LayerState, keep_highest, project_heads
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# b sequences, t positions of a pass

_PIVOTS = 4  # of the image, and as many of the text


class DART(Projector):
    """Pruning inside the LLM by duplication: its third and later layers read pivots with large keys and the
    visual tokens that are least similar to them. Needs no training: a projector for all patches serves it.

    Wen et al. 2025, arXiv 2502.11494; ZichenWen1/DART. Written from its description. Four visual tokens
    and four tokens of the text behind the image are pivots: those whose keys in the second layer, rotated,
    have the largest L1 norm. One after the other each pivot keeps its share of the visual tokens, those
    whose hidden state after the LLM's norm is least similar to its own by cosine. Position ids stay.
    Differences: v counts the pivots, where the released 128 keeps 132; what the shares leave over goes to
    the first pivots; each sequence of a batch has its own choice, and pivots follow the order of the
    sequence, where the release goes through a set; fewer pivots where v or the text has fewer tokens; an
    LLM of two layers is pruned in its second.
    """

    source = "DART, arXiv 2502.11494"
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
        self.pruning = LayerPruning("dart", removes=setting.options["pruning"] == "remove")

    @property
    def placeholders(self) -> int:
        """Return all patches: every one enters the LLM."""
        return self.patches

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, p, n)."""
        return self.mlp(features.patches)

    def hook_llm(self, llm: nn.Module, places: Tensor | None) -> AbstractContextManager[None]:
        """Remove all but v visual tokens of each image from layer 2 of `llm` on, counted from 0."""
        return self.pruning.prune(
            llm, places, lambda layers: [(min(2, layers - 1), self.visual_tokens)], keep_unlike
        )


def keep_unlike(state: LayerState, count: int) -> Tensor:
    """Return which `count` visual tokens stay, by the rule of DART: (b, t) bool."""
    # A rotated key's L1 norm depends on its place: take that in the sequence without padding.
    places = (state.prompt.cumsum(dim=1) - 1).clamp(min=0)
    rotation = state.llm.get_submodule("rotary_emb")(state.inputs, places)
    keys = project_heads(state.before, "k", state.inputs, rotation)
    size = rearrange(keys, "b h t e -> b t (h e)").float().abs().sum(dim=-1)
    stay = keep_highest(size, state.visual, min(_PIVOTS, count))
    pivots = stay | keep_highest(size, state.text_after_image, _PIVOTS)
    units = functional.normalize(state.llm.get_submodule("norm")(state.hidden).float(), dim=-1)
    free = state.visual & ~stay
    shares = _share_out(pivots, count - stay.sum(dim=1))
    # By sequence, the pivots first, in their order.
    order = (~pivots).byte().argsort(dim=1, stable=True)
    for number in range(min(2 * _PIVOTS, order.shape[1])):
        pivot = order[:, number : number + 1]
        own = units.take_along_dim(rearrange(pivot, "b 1 -> b 1 1"), dim=1)
        with torch.autocast(
            units.device.type, enabled=False
        ):  # in 16 bits many would be as similar
            likeness = (own @ units.transpose(1, 2))[:, 0]
        rank = likeness.masked_fill(~free, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
        taken = free & (rank < shares[:, number : number + 1])
        stay, free = stay | taken, free & ~taken
    return stay


def _share_out(pivots: Tensor, rest: Tensor) -> Tensor:
    """Share `rest` tokens (b,) out among the pivots (b, t) of each sequence: (b, 8), 0 where none is."""
    amount = rearrange(pivots.sum(dim=1).clamp(min=1), "b -> b 1")
    number = torch.arange(2 * _PIVOTS, device=pivots.device)
    rest = rearrange(rest.clamp(min=0), "b -> b 1")
    shares = rest // amount + (number < rest % amount)
    return shares * (number < amount)
