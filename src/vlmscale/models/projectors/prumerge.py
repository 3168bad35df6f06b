"""PruMerge: the patches that the tower attends to most, with the others merged into them."""

from typing import ClassVar

from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.models.token_merging import (
    count_outliers,
    mark_filled_slots,
    merge_patches,
    rank_by_attention,
)
from vlmscale.settings import Setting


class PruMerge(Projector):
    """Patches most attended by the tower's CLS position, each merged with its 32 nearest by keys, and
    one token for all the rest; then LLaVA-1.5's two-layer MLP.

    Shang et al. 2024, arXiv 2403.15388; 42Shawn/LLaVA-PruMerge multimodal_encoder/clip_encoder.py.
    Written from its description. Differences: v - 1 patches, where the released code takes the
    outliers of each image (`count: adaptive`: at least one, at most v - 1); outliers are found for each
    image, not over the batch; any grid side and width.
    """

    source = "arXiv 2403.15388"
    needs = ("tower_attention",)
    counts = "any"
    options: ClassVar = {"training": ("free", "trained"), "count": ("fixed", "adaptive")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + n + n*n + n"
    # similarity of keys; the merging itself; the MLP
    multiply_adds = "(v - 1)*p*d + v*p*d + v*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.adaptive = setting.options["count"] == "adaptive"
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor | tuple[Tensor, Tensor]:
        """Compress features.patches, keys (b, p, d), cls_attention (b, p) -> (b, v, n): kept patches by
        falling attention, then the rest; if adaptive also which of them are present, (b, v).
        """
        most = self.visual_tokens - 1
        counts = count_outliers(features).clamp(max=most)
        if not self.adaptive:
            counts = counts.new_full(counts.shape, most)
        out: Tensor = self.mlp(merge_patches(features, rank_by_attention(features), counts, most))
        return (out, mark_filled_slots(counts, most)) if self.adaptive else out
