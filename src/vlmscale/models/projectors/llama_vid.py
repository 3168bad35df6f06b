"""LLaMA-VID: one token for what the question asks, the others for the image's content."""

import torch
from einops import rearrange
from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import (
    Projector,
    Widths,
    average_regions,
    build_mlp,
    find_region_side,
)
from vlmscale.settings import Setting


class LlamaVid(Projector):
    """A context token (patches weighted by the question), then content tokens (patches averaged).

    Li et al. 2024, arXiv 2311.17043; dvlab-research/LLaMA-VID llamavid/model/llamavid_arch.py.
    Differences: the queries are the LLM's own states on the question's tokens, without gradient, where
    the released text decoder (Q-Former or BERT, 32 learned queries or the tokens) is trained and sees
    the image; one set of tokens serves a conversation, where the released code repeats the image in
    each turn with that turn's question; keys have no bias, which the softmax would cancel; any tower.
    """

    source = "LLaMA-VID, arXiv 2311.17043"
    needs = ("question_tokens",)
    counts = "square + 1"
    weights = "n*d + d + d*d + d*n + n + d*n + n + n*n + n"
    # For a question of 32 tokens, the number of released queries: queries, keys, scores, the weighted
    # patches, the context token; the MLP on the content.
    multiply_adds = "32*n*d + p*d*d + 32*p*d + p*d + d*n + (v - 1)*(d*n + n*n)"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        d, n = widths.tower, widths.llm
        self.side, _ = find_region_side(setting.visual_tokens - 1, widths.grid_side)
        self.query = nn.Linear(n, d)
        self.key = nn.Linear(d, d, bias=False)
        self.context = nn.Linear(d, n)
        self.mlp = build_mlp(d, n)

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d), context token first -> (b, v, n).

        Also reads features.question_tokens (b, q, n) and question_mask (b, q).
        """
        content = average_regions(features.patches, self.side)
        context = rearrange(self._average_by_question(features), "b d -> b 1 d")
        return torch.cat([self.context(context), self.mlp(content)], dim=1)

    def _average_by_question(self, features: VisionFeatures) -> Tensor:
        """Average the patches by the mean attention of the question's tokens: (b, d)."""
        patches, mask = features.patches, features.question_mask.to(features.patches.dtype)
        query, key = self.query(features.question_tokens), self.key(patches)
        scores = torch.einsum("bqd,bpd->bqp", query, key) / patches.shape[-1] ** 0.5
        shares = mask / mask.sum(dim=1, keepdim=True)
        attention = (scores.softmax(dim=-1) * rearrange(shares, "b q -> b q 1")).sum(dim=1)
        return torch.einsum("bp,bpd->bd", attention, patches)
