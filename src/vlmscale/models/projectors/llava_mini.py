"""LLaVA-Mini: patches are mixed into the text before the LLM, which then reads few visual tokens."""

from copy import deepcopy
from dataclasses import replace

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedConfig

from vlmscale.models.attention import HEADS, project
from vlmscale.models.features import VisionFeatures
from vlmscale.models.llm_input import LlmInput, as_pairs, unwrap
from vlmscale.models.projectors.base import Projector, Widths, build_mlp, find_region_side
from vlmscale.models.projectors.mqt import make_sine_positions
from vlmscale.settings import Setting

LAYERS = 4  # as released
# i sequences with an image, t positions of a pass, s = p + t with the patches before them


class LlavaMini(Projector):
    """Learned queries compress the patches to v tokens; four layers of the LLM's own shape mix patches and
    these tokens into the embeddings of the instructions, and the LLM reads both without a patch.

    Zhang et al. 2025, arXiv 2501.03895; ictnlp/LLaVA-Mini llavamini_arch.py. Written from its
    description. The compression stands before the MLP, which maps patches and tokens, as in the released
    code; embeddings enter the layers without a gradient, and answers keep their own. Differences: any
    grid side and width; the four layers start from the LLM's own rule for random weights; padding is known
    by its mask, not by a token's id; texts without an image stay as they are.
    """

    source = "LLaVA-Mini, arXiv 2501.03895"
    needs = ("text_embeddings",)
    weights = "v*d + 4*d + 4*(d*d + d) + d*n + n + n*n + n + 4*b"
    # the attention: its projections and products; the MLP on tokens and patches
    multiply_adds = "2*v*d*d + 2*p*d*d + 2*v*p*d + (v + p)*(d*n + n*n)"
    # What the four layers keep of patches and tokens, beside the tokens in the LLM.
    kept = "v + 4*(p + v)/m"
    fusion_layers = "4"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__(widths, setting)
        d = widths.tower
        self.side, _ = find_region_side(setting.visual_tokens, widths.grid_side)
        self.query = nn.Parameter(torch.empty(setting.visual_tokens, d).normal_(std=0.02))
        self.query_norm = nn.LayerNorm(d, eps=1e-6)
        self.patch_norm = nn.LayerNorm(d, eps=1e-6)
        self.attention = nn.MultiheadAttention(d, HEADS, batch_first=True)
        self.mlp = build_mlp(d, widths.llm)
        assert widths.llm_config is not None
        self.layer_config = _shorten(widths.llm_config, LAYERS)
        llm = AutoModel.from_config(self.layer_config)
        self.layers = llm.layers
        self.rotary = type(llm.rotary_emb)  # built anew in each pass: its values have 32 bits

    def forward(self, features: VisionFeatures) -> Tensor:
        """Compress features.patches (b, p, d) -> (b, v, n)."""
        patches = features.patches
        places = make_sine_positions(self.side, patches.shape[-1], patches.device)
        finer = functional.interpolate(
            rearrange(places, "(h w) d -> 1 d h w", h=self.side),
            size=(features.grid_side, features.grid_side),
            mode="bicubic",
            align_corners=False,
        ).to(patches.dtype)
        value = self.patch_norm(patches)
        key = value + rearrange(finer, "1 d h w -> 1 (h w) d")
        query = self.query_norm(self.query) + places.to(patches.dtype)
        queries, keys, values = (
            rearrange(each, "b t (a e) -> b a t e", a=HEADS)
            for each in project(self.attention, query[None], key, value)
        )
        queries = queries.expand(len(patches), -1, -1, -1)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return self.mlp(self.attention.out_proj(rearrange(mixed, "b a t e -> b t (a e)")))

    def make_context(self, features: VisionFeatures) -> Tensor:
        """Project every patch: features.patches (b, p, d) -> (b, p, n)."""
        return self.mlp(features.patches)

    def prepare_llm_input(self, given: LlmInput) -> LlmInput:
        """Mix the patches and visual tokens of each image into its visual tokens and instructions."""
        assert given.context is not None
        rows = given.places.any(dim=1).nonzero()[:, 0]
        places, text = given.places[rows], given.instructions[rows]
        embeds = given.embeds[rows]
        now = torch.where(places[..., None], embeds, embeds.detach())
        related, given_mask = None, unwrap(given.attention_mask)
        if given_mask is not None and given_mask.ndim == 4:
            related = as_pairs(given_mask[rows], places.shape[1])
        mask, positions = arrange(places, text, given.context.shape[1], related)
        hidden = torch.cat([given.context.to(now.dtype), now], dim=1)
        rotation = self.rotary(config=self.layer_config).to(hidden.device)(hidden, positions)
        for layer in self.layers:
            hidden = layer(
                hidden,
                attention_mask=mask[:, None],
                position_embeddings=rotation,
                position_ids=positions,
            )
        mixed = hidden[:, given.context.shape[1] :].to(embeds.dtype)
        mixed = torch.where((places | text)[..., None], mixed, embeds)
        return replace(given, embeds=given.embeds.index_copy(0, rows, mixed))


def arrange(
    places: Tensor, text: Tensor, patches: int, related: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return which of s = p + t positions each attends to, (i, s, s) bool, and positions (i, s).

    As if patches came first, then visual tokens (where `places`), then `text`, (i, t) bool, wherever they
    stand; each sees what comes before it. related (i, t, t): which texts see each other, by default all.
    Other positions, answers and padding, see themselves and are seen by none.
    """
    t = places.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool, device=places.device).tril()
    among = text[:, :, None] & text[:, None] & (causal if related is None else causal & related)
    tokens = places[:, :, None] & places[:, None] & causal
    own = torch.eye(t, dtype=torch.bool, device=places.device)
    seen = among | tokens | (text[:, :, None] & places[:, None]) | own
    image = repeat(places | text, "i t -> i t p", p=patches)
    first = torch.ones(patches, patches, dtype=torch.bool, device=places.device).tril()
    above = functional.pad(first.expand(len(places), -1, -1), (0, t))
    mask = torch.cat([above, torch.cat([image, seen], dim=2)], dim=1)
    before = torch.arange(patches, device=places.device).expand(len(places), -1)
    number = torch.where(places, places.cumsum(dim=1), places.sum(dim=1, keepdim=True))
    number = number + among.sum(dim=2) - 1
    return mask, torch.cat([before, patches + number], dim=1)


def _shorten(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """Return the config of an LLM with as many layers of this shape, and no vocabulary."""
    short = deepcopy(config)
    short.num_hidden_layers, short.vocab_size, short.pad_token_id = layers, 1, None
    if getattr(short, "layer_types", None) is not None:
        short.layer_types = ["full_attention"] * layers
    short._attn_implementation = "sdpa"
    return short
