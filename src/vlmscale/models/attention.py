"""Attention that several projectors use: one query for each region of patches."""

from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

# b images, p patches, v regions, s patches along a region's side, l tower layers, d width

HEADS = 8  # as released, for any width divisible by 8


def build_normed_mlp(d_in: int, d_out: int) -> nn.Sequential:
    """Build Linear, GELU, Linear, LayerNorm: the input layers of TokenPacker's and QueCC's attention."""
    return nn.Sequential(
        nn.Linear(d_in, d_out), nn.GELU(), nn.Linear(d_out, d_out), nn.LayerNorm(d_out, eps=1e-6)
    )


def project(
    attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor
) -> list[Tensor]:
    """Project queries, keys and values by the attention's own matrices, (..., d) each.

    The module's forward pass would project inputs that all images share once per image, and copy
    everything three times.
    """
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    return [linear(*each) for each in zip((query, key, value), weights, biases, strict=True)]


class RegionAttention(nn.Module):
    """One query for each region attends to that region's patches, and to no other's."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d, HEADS, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *, side: int) -> Tensor:
        """Attend from query (b, v, d) to key and value (b, p, d), each to its own region: (b, v, d).

        side: of the grid of regions, v = side * side.
        """
        query, *patches = project(self.attention, query, key, value)
        window = int(key.shape[1] ** 0.5) // side
        by_region = "b (gh h gw w) (a e) -> (b gh gw) a (h w) e"
        sizes = {"gh": side, "gw": side, "h": window, "w": window, "a": HEADS}
        keys, values = (rearrange(each, by_region, **sizes) for each in patches)
        query = rearrange(query, "b v (a e) -> (b v) a 1 e", a=HEADS)
        out = scaled_dot_product_attention(query, keys, values)
        out = rearrange(out, "(b v) a 1 e -> b v (a e)", b=len(key))
        return self.attention.out_proj(out)
