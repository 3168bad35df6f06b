"""Repeated tokens: do more LLM positions help without more information?"""

from typing import ClassVar

from einops import repeat
from torch import Tensor

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors import tokenpacker
from vlmscale.models.projectors.base import Projector, Widths
from vlmscale.settings import Setting

PACKED = 4  # tokens before they are repeated, as in the paper


# Projector is named as a base because vlmscale.methods finds the class by it, in the source.
class Repeat(tokenpacker.TokenPacker, Projector):
    """TokenPacker's 4 tokens, repeated up to the count before the LLM reads them.

    The paper, section 3.3.1. It names neither the order nor whether the model is trained this way: both
    are options. Differences: none known.
    """

    source = "the paper, arXiv 2411.03312, section 3.3.1"
    needs = ("multilayer",)
    counts = "multiples of 4"
    options: ClassVar = {
        "training": ("free", "trained"),
        # block: 1 2 3 4 1 2 3 4; element: 1 1 2 2 3 3 4 4
        "order": ("block", "element"),
        "query_resize": ("bilinear", "antialias", "avgpool"),
    }
    served_by: ClassVar = {"free": ("tokenpacker", 4)}
    weights = "d*d + 2*d + 2*(l*d*d + d*d + 4*d) + 4*(d*d + d) + d*n + n + n*n + n"
    # as TokenPacker's at 4 tokens
    multiply_adds = "4*d*d + 2*p*(l*d*d + d*d) + 2*4*d*d + 2*p*d*d + 2*p*d + 4*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting.model_copy(update={"visual_tokens": PACKED}))
        self.visual_tokens = setting.visual_tokens
        self.pattern = (
            "b v n -> b (r v) n" if setting.options["order"] == "block" else "b v n -> b (v r) n"
        )

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d), multilayer (b, p, l d) -> (b, v, n)."""
        return repeat(super().forward(features), self.pattern, r=self.visual_tokens // PACKED)
