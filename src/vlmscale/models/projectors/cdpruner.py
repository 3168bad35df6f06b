"""CDPruner: patches that differ from each other, those nearer to the question first."""

from typing import ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting

# c chosen patches

_LEAST = 1e-6  # keeps the least relevant patch in the kernel, as released
_NO_GAIN = 1e-9  # below this, a patch lies in the span of the chosen ones but for rounding


class CDPruner(Projector):
    """Keeps the v patches that a determinantal point process finds most diverse given the question, in
    the order of the image.

    Zhang et al. 2025, arXiv 2506.10967; Theia-4869/CDPruner llava/model/llava_arch.py. Written from its
    description: the kernel r_i cos(x_i, x_j) r_j of projected patches x, its MAP by greedy steps. The
    relevance r is a patch's mean cosine with the embeddings of the question in the LLM, as in ports to
    models whose tower has no text encoder; for LLaVA the release compares CLIP's text embedding, and
    takes the negative (`sign: minus`). Differences: each image has its own scale of relevance, which is
    even where all patches are equally relevant; of equal gains the earlier patch wins; of patches that
    add nothing to the chosen ones the more relevant goes first.
    """

    source = "CDPruner, arXiv 2506.10967"
    needs = ("question_embeddings",)
    counts = "any"
    options: ClassVar = {"training": ("free",), "sign": ("plus", "minus")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    # the MLP on every patch; the kernel; the relevance; the greedy steps
    multiply_adds = "p*(d*n + n*n) + p*p*n + p*n + p*v*(v - 1)/2"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.mlp = build_mlp(widths.tower, widths.llm)
        self.sign = 1 if setting.options["sign"] == "plus" else -1

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d), with question_embeddings (b, q, n), -> (b, v, n)."""
        tokens = self.mlp(features.patches)
        with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
            units = functional.normalize(tokens.double(), dim=-1)
            words = functional.normalize(features.question_embeddings.double(), dim=-1)
            real = rearrange(features.question_mask, "b q -> b q 1").double()
            question = reduce(words * real, "b q n -> b n 1", "sum") / reduce(
                real, "b q 1 -> b 1 1", "sum"
            )
            relevance = scale_relevance(self.sign * (units @ question)[..., 0])
            kernel = relevance[:, :, None] * (units @ units.transpose(1, 2)) * relevance[:, None]
            kept = choose_by_volume(kernel, self.visual_tokens).sort(dim=1).values
        return tokens.take_along_dim(rearrange(kept, "b v -> b v 1"), dim=1)


def scale_relevance(relevance: Tensor) -> Tensor:
    """Scale the relevance (b, p) of each image's patches to at most 1; all 1 where they are equal."""
    low, high = relevance.amin(dim=1, keepdim=True), relevance.amax(dim=1, keepdim=True)
    return (relevance - low + _LEAST) / (high - low + _LEAST)


def choose_by_volume(kernel: Tensor, count: int) -> Tensor:
    """Choose `count` of p items by a kernel (b, p, p) greedily: (b, count), in the order of their choice.

    Each next item is the one that raises the determinant of the chosen ones' kernel most (Chen et al.
    2018, arXiv 1709.05135): rows of the kernel's Cholesky factor give each item's gain.
    """
    diagonal = torch.diagonal(kernel, dim1=1, dim2=2)
    gain = diagonal.clone()  # (b, p), of the determinant, as a factor
    free = torch.zeros_like(gain)  # -inf where chosen
    factor = kernel.new_empty(len(kernel), 0, kernel.shape[2])  # (b, c, p)
    chosen: list[Tensor] = []
    for _ in range(count):
        adds = gain > _NO_GAIN * diagonal
        pick = (torch.where(adds, gain, diagonal - 2) + free).argmax(dim=1, keepdim=True)
        chosen.append(pick)
        free = free.scatter(1, pick, -torch.inf)
        index = rearrange(pick, "b 1 -> b 1 1")
        row = kernel.take_along_dim(index, dim=1)
        row = row - factor.take_along_dim(index, dim=2).transpose(1, 2) @ factor
        scale = gain.gather(1, pick).clamp(min=0).rsqrt()
        row = torch.where(adds.gather(1, pick), row[:, 0] * scale, 0)
        factor = torch.cat([factor, rearrange(row, "b p -> b 1 p")], dim=1)
        gain = gain - row.square()
    return torch.cat(chosen, dim=1)
