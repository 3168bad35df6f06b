"""ToMe: similar patches merge inside the vision tower."""

from typing import ClassVar

from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting


class ToMe(Projector):
    """The tower merges similar patches in every block, until v are left, then LLaVA-1.5's MLP on each.

    Bolya et al. 2022, arXiv 2210.09461. Written from the paper: between a block's attention and its MLP
    the pairs of patches with the most similar keys, averaged over heads, merge to their mean, weighted by
    size; attention to a patch grows with its size. Special positions never merge. Differences: the
    number that each block merges follows from v, the same in each but where half of the patches are
    fewer; a tower of few blocks merges the rest in its last one.
    """

    source = "ToMe, arXiv 2210.09461"
    needs = ("pixels", "merged_patches")
    counts = "any"
    options: ClassVar = {"training": ("free",)}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    multiply_adds = "v*(d*n + n*n)"  # the tower's are of its merged patches

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.merged_patches(v) (b, v, d) -> (b, v, n)."""
        return self.mlp(features.merged_patches(self.visual_tokens))
