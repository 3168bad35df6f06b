"""SparseVLM: in three stages, visual tokens stay that the question's visual words attend to."""

from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.layer_pruning import LayerPruning, LayerState, keep_highest, share_equally
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# b sequences, t positions that are left of a pass, a all its positions, n LLM width


class SparseVLM(Projector):
    """Pruning inside the LLM in stages, rated by the text tokens that resemble the image: all patches in
    its first layers, v in its second half. Needs no training: a projector for all patches serves it.

    Zhang et al. 2024, arXiv 2410.04417; Gumpest/SparseVLMs llava/model/language_model/score.py, version 1.
    Written from its description. Raters are those tokens of the text behind the image whose dot product
    with the patches, softmax over the text, mean over patches, is above the text's mean. After layers 2, 6
    and 15 of 32 the visual tokens stay that raters attend to most, averaged over raters and heads;
    positions close up. Differences: what leaves is not clustered into recycled tokens, which come on top of
    the counts and begin at random; each stage keeps the same share, (v/p)^(1/3), where the release lists
    counts for four budgets; those layers' places in an LLM of any depth; where no token is above the mean,
    all of the text rates, and without text the last position; each sequence has its own choice; of equal
    attention the earlier patch wins.
    """

    source = "SparseVLM, arXiv 2410.04417"
    needs = ("llm_attention",)
    counts = "any"
    options: ClassVar = {"training": ("free",), "pruning": ("remove", "hide")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "p*(d*n + n*n)"
    # (3*m + 31)//32 layers with all patches, then up to (7*m + 31)//32, up to half, and the last ones
    positions = (
        "((3*m + 31)//32*p + ((7*m + 31)//32 - (3*m + 31)//32)*((p*(v/p)**(1/3) + 0.5)//1)"
        " + ((m + 1)//2 - (7*m + 31)//32)*((p*(v/p)**(2/3) + 0.5)//1) + (m - (m + 1)//2)*v)/m"
    )
    kept = "p"  # each question chooses anew

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.patches = widths.grid_side**2
        self.mlp = build_mlp(widths.tower, widths.llm)
        self.pruning = LayerPruning(
            "sparsevlm", removes=setting.options["pruning"] == "remove", renumbers=True
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
            keep_rated,
        )


def find_stages(patches: int, visual_tokens: int, layers: int) -> list[tuple[int, int]]:
    """Return (layer, visual tokens from there on) of the three stages in an LLM of two layers or more."""
    starts = (3 * layers + 31) // 32, (7 * layers + 31) // 32, (layers + 1) // 2
    return list(zip(starts, share_equally(patches, visual_tokens), strict=True))


def keep_rated(state: LayerState, count: int) -> Tensor:
    """Return which `count` visual tokens the raters attend to most: (b, t) bool."""
    raters = find_raters(state).float()
    with torch.autocast(raters.device.type, enabled=False):
        rows = state.attention.float().mean(dim=1)[..., : raters.shape[1]]
        score = rearrange(raters, "b t -> b 1 t") @ rows  # the order of sums is that of means
    return keep_highest(score[:, 0], state.visual, count)


def find_raters(state: LayerState) -> Tensor:
    """Return which positions rate visual tokens, (b, t) bool: the same ones at every stage."""
    text = state.text_after_image
    last = torch.arange(text.shape[1], device=text.device) == rearrange(state.last, "b -> b 1")
    text = torch.where(text.any(dim=1, keepdim=True), text, last)
    embeddings = state.embeddings.float()
    words = embeddings.take_along_dim(rearrange(state.index, "b t -> b t 1"), dim=1)
    with torch.autocast(text.device.type, enabled=False):
        alike = embeddings @ words.transpose(1, 2)  # (b, a, t)
    alike = alike.masked_fill(~rearrange(text, "b t -> b 1 t"), -torch.inf).softmax(dim=-1)
    alike = (alike * rearrange(state.image, "b a -> b a 1")).sum(dim=1)
    # The mean over the text; a sum over patches is as large everywhere as their mean.
    mean = alike.sum(dim=1, keepdim=True) / text.sum(dim=1, keepdim=True)
    raters = text & (alike > mean * (1 + 1e-6))
    return torch.where(raters.any(dim=1, keepdim=True), raters, text)
