"""The projector of LLaVA-1.5: every patch becomes a visual token."""

from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp
from vlmscale.settings import Setting


class Mlp(Projector):
    """No compression: a two-layer MLP on each patch, v = p.

    Liu et al. 2023, arXiv 2310.03744; haotian-liu/LLaVA multimodal_projector/builder.py.
    Differences: none. The paper's point at 576 visual tokens.
    """

    source = "LLaVA-1.5, arXiv 2310.03744"
    counts = "full"
    weights = "d*n + n + n*n + n"
    multiply_adds = "p*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        self.mlp = build_mlp(widths.tower, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, p, n)."""
        return self.mlp(features.patches)
