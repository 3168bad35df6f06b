"""A vision tower that merges patches until a given number is left (ToMe): how many where, and its FLOPs."""

from vlmscale.costs.shapes import Tower


def plan_merges(patches: int, visual_tokens: int, blocks: int) -> list[int]:
    """Return how many patches each block merges away: the smallest equal number that will do.

    A block merges at most half of the patches that reach it, and none beyond `visual_tokens`. Where even
    halving in every block leaves more than these, the last block merges the rest in several rounds.
    """
    merges: list[int] = []
    for most in range(patches + 1):
        left, merges = patches, []
        for _ in range(blocks):
            merges.append(min(most, left // 2, left - visual_tokens))
            left -= merges[-1]
        if left == visual_tokens:
            return merges
    return [*merges[:-1], merges[-1] + left - visual_tokens]


def split_rounds(patches: int, merged: int) -> list[int]:
    """Split what one block merges away into rounds, each of at most half of the patches that are left."""
    rounds: list[int] = []
    while merged:
        rounds.append(min(merged, patches // 2))
        patches, merged = patches - rounds[-1], merged - rounds[-1]
    return rounds


def merging_tower_gflops(tower: Tower, visual_tokens: int, layers: int | None = None) -> float:
    """Return GFLOPs of an image through `layers` blocks, by default all, that leave `visual_tokens`.

    Keys of blocks that merge are computed twice, and compared: half of the patches with the others.
    """
    h, patches = tower.hidden_size, tower.patches
    products = patches * 3 * tower.patch_size**2 * h
    for merged in plan_merges(patches, visual_tokens, tower.layers if layers is None else layers):
        positions = patches + tower.special_positions
        products += positions * (5 if merged else 4) * h * h + 2 * h * positions**2
        for part in split_rounds(patches, merged):
            products += (patches // 2) * (patches - patches // 2) * h // tower.heads
            patches -= part
        products += (patches + tower.special_positions) * 2 * h * tower.intermediate_size
    return 2 * products / 1e9
