"""QueCC: region attention whose queries contain the question."""

from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from vlmscale.models.attention import RegionAttention, build_normed_mlp
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Projector, Widths, build_mlp, find_region_side
from vlmscale.settings import Setting


class QueCC(Projector):
    """Query-aware convolutional cross-attention: patches plus question, down-sampled by a learned
    depth-wise convolution, query the multi-layer features of their own region.

    The paper, section 4; locuslab/llava-token-compression multimodal_projector/quecc.py. Written
    from its description. Differences: any grid side and width; the question comes from the
    conversation's structure, not from a search in decoded text; an empty question cannot select the
    embedding of a padding token; the options `question` and `downsampling` ablate what the paper
    argues for without an experiment.
    """

    source = "the paper, arXiv 2411.03312, section 4"
    needs = ("multilayer", "question")
    weights = (
        'n*d + 3*d + 2*(d*d + d) + 2*d + (downsampling == "convolution")*(d*(p/v) + d)'
        "+ 2*(l*d*d + d*d + 4*d) + 4*(d*d + d) + d*n + n + n*n + n"
    )
    # question; queries and their convolution; keys and values; attention; the MLP
    multiply_adds = (
        'n*d + 2*p*d*d + (downsampling == "convolution")*p*d + 2*p*(l*d*d + d*d)'
        "+ 2*v*d*d + 2*p*d*d + 2*p*d + v*(d*n + n*n)"
    )
    options: ClassVar = {
        # Which human turn of a multi-turn sample is the question: the released code takes the
        # first, the paper says "most recent".
        "query_turn": ("first", "last", "random"),
        # The released recipe keeps the chat template in stage 1, so that a question exists there.
        "stage1_template": ("chat", "plain"),
        # constant: the same projector, with ones in place of every question's embedding.
        "question": ("asked", "constant"),
        # bilinear: as TokenPacker shrinks its queries, without anti-aliasing.
        "downsampling": ("convolution", "bilinear"),
    }

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        d, d_multi = widths.tower, widths.tower * widths.layers
        self.side, window = find_region_side(setting.visual_tokens, widths.grid_side)
        self.reads_embedding = setting.options["question"] == "asked"
        self.question = nn.Sequential(nn.Linear(widths.llm, d), nn.LayerNorm(d, eps=1e-6))
        self.query = build_normed_mlp(d, d)
        self.downsample = (
            nn.Conv2d(d, d, kernel_size=window, stride=window, groups=d)
            if setting.options["downsampling"] == "convolution"
            else nn.Upsample((self.side, self.side), mode="bilinear")
        )
        self.key = build_normed_mlp(d_multi, d)
        self.value = build_normed_mlp(d_multi, d)
        self.attention = RegionAttention(d)
        self.mlp = build_mlp(d, widths.llm)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d), multilayer (b, p, l d), question (b, n) -> (b, v, n)."""
        embedding = features.question
        if not self.reads_embedding:
            embedding = torch.ones_like(embedding)
        question = rearrange(self.question(embedding), "b d -> b 1 d")
        fine = rearrange(
            self.query(features.patches + question), "b (h w) d -> b d h w", h=features.grid_side
        )
        query = rearrange(self.downsample(fine), "b d h w -> b (h w) d")
        key, value = self.key(features.multilayer), self.value(features.multilayer)
        return self.mlp(self.attention(query, key, value, side=self.side))
