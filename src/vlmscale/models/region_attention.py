"""Attention within regions, shared by the compressors that give one token for each region."""

from einops import rearrange
from torch import Tensor, nn

# b images, p patches, v regions, s patches along a region's side, l tower layers, d width

HEADS = 8  # as released, for any width divisible by 8


def normed_mlp(d_in: int, d_out: int) -> nn.Sequential:
    """Linear, GELU, Linear, LayerNorm: how both papers make queries, keys or values."""
    return nn.Sequential(
        nn.Linear(d_in, d_out),
        nn.GELU(),
        nn.Linear(d_out, d_out),
        nn.LayerNorm(d_out, eps=1e-6),
    )


class RegionAttention(nn.Module):
    """One query for each region attends to that region's patches, and to no other's."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d, HEADS, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *, side: int) -> Tensor:
        """Query (b v d), keys and values (b p d) on a grid of side x side regions -> (b v d)."""

        def per_region(patches: Tensor) -> Tensor:
            grid = int(patches.shape[1] ** 0.5)
            return rearrange(
                patches,
                "b (gh h gw w) d -> (b gh gw) (h w) d",
                gh=side,
                gw=side,
                h=grid // side,
                w=grid // side,
            )

        one_each = rearrange(query, "b v d -> (b v) 1 d")
        out, _ = self.attention(one_each, per_region(key), per_region(value), need_weights=False)
        return rearrange(out, "(b v) 1 d -> b v d", b=query.shape[0])
