"""PyramidDrop: after each quarter of the LLM the same share of the visual tokens is left."""

from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.layer_pruning import (
    LayerPruning,
    LayerState,
    keep_highest,
    project_heads,
    share_equally,
)
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# b sequences, t positions of a pass, h heads, g of them for each head of keys


class PyramidDrop(Projector):
    """Pruning inside the LLM in stages: all patches in its first quarter, then ever fewer, v in its last.
    Needs no training: a projector for all patches serves it.

    Xing et al. 2024, arXiv 2410.17247; Cooperx521/PyramidDrop llava/model/modeling_llama_pdrop.py. Written
    from its description. After a quarter of the layers, half and three quarters, tokens stay that the
    prompt's last position attends to most in the next layer, averaged over heads; the others leave, and
    positions close up. Each stage keeps the same share, (v/p)^(1/3): 288, 144 and 72 of 576, as released,
    at v = 72. Differences: any v, by that rule, counts rounded where the release cuts them off; quarters of
    any LLM, where it names layers 8, 16 and 24; LLMs with grouped keys; of equal attention the earlier
    patch wins; an LLM of two layers is pruned once.
    """

    source = "PyramidDrop, arXiv 2410.17247"
    needs = ("llm_attention",)
    counts = "any"
    options: ClassVar = {"training": ("free",), "pruning": ("remove", "hide")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "p*(d*n + n*n)"
    # (m//4 + 3//m) layers with all patches, then up to half, up to three quarters, and the last ones
    positions = (
        "((m//4 + 3//m)*p + (m//2 - m//4 - 3//m)*((p*(v/p)**(1/3) + 0.5)//1)"
        " + (3*m//4 - m//2)*((p*(v/p)**(2/3) + 0.5)//1) + (m - 3*m//4)*v)/m"
    )
    kept = "p"  # each question chooses anew

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.patches = widths.grid_side**2
        self.mlp = build_mlp(widths.tower, widths.llm)
        self.pruning = LayerPruning(
            "pyramiddrop", removes=setting.options["pruning"] == "remove", renumbers=True
        )

    @property
    def placeholders(self) -> int:
        """Return all patches: every one enters the LLM."""
        return self.patches

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, p, n)."""
        return self.mlp(features.patches)

    def hook_llm(self, llm: nn.Module, places: Tensor | None) -> AbstractContextManager[None]:
        """Remove visual tokens of each image from three layers of `llm` on, until v are left."""
        return self.pruning.prune(
            llm,
            places,
            lambda layers: find_stages(self.patches, self.visual_tokens, layers),
            keep_next_attended,
        )


def find_stages(patches: int, visual_tokens: int, layers: int) -> list[tuple[int, int]]:
    """Return (layer, visual tokens from there on) of the three stages in an LLM of two layers or more."""
    starts = layers // 4 + 3 // layers, layers // 2, 3 * layers // 4
    return list(zip(starts, share_equally(patches, visual_tokens), strict=True))


def keep_next_attended(state: LayerState, count: int) -> Tensor:
    """Return which `count` visual tokens the last position will attend to most: (b, t) bool.

    Attention is that of the layer `state.after` if no token left before it.
    """
    normed = state.after.get_submodule("input_layernorm")(state.hidden)
    last = rearrange(state.last, "b -> b 1 1")
    rotation = [each.expand(len(normed), -1, -1) for each in state.rotation]
    cos, sin = (each.take_along_dim(last, dim=1) for each in rotation)
    query = project_heads(state.after, "q", normed.take_along_dim(last, dim=1), (cos, sin))
    keys = project_heads(state.after, "k", normed, state.rotation)
    query = rearrange(query, "b (h g) 1 e -> b h g e", h=keys.shape[1])
    with torch.autocast(query.device.type, enabled=False):
        scores = query.float() @ keys.float().transpose(2, 3) / query.shape[-1] ** 0.5
    seen = state.mask[..., : keys.shape[2]].float()
    seen = seen.expand(len(normed), -1, -1, -1).take_along_dim(
        rearrange(last, "b 1 1 -> b 1 1 1"), 2
    )
    attention = (scores + seen).softmax(dim=-1)
    return keep_highest(reduce(attention, "b h g t -> b t", "mean"), state.visual, count)
