"""What each family of vision towers gives, by the `model_type` of its config. Needs no torch."""

from dataclasses import dataclass, replace

from vlmscale.errors import UserError


@dataclass(frozen=True)
class TowerFamily:
    """Names of a vision transformer's parts in transformers, and what it has beside its blocks."""

    blocks: str  # module: its list of blocks
    norm: str  # module of a block: the norm before attention
    attention: str  # module of a block, with q_proj and k_proj
    positions: str  # parameter of `embeddings`: a row for CLS, if there is one, and for each patch
    has_cls: bool  # the first position, which attends to all patches; registers follow it
    takes_any_size: bool  # without being told to interpolate its positions
    # Vectors of the tower's width beside positions and registers: CLS, mask token, the bias of the patches'
    # filter, weights and biases of norms.
    vectors: int
    block_vectors: int = 0  # in each block beside attention, MLP and their norms: scales of layers


_CLIP = TowerFamily(
    blocks="encoder.layers",
    norm="layer_norm1",
    attention="self_attn",
    positions="position_embedding.weight",
    has_cls=True,
    takes_any_size=False,
    vectors=5,
)
_SIGLIP = replace(_CLIP, has_cls=False, vectors=3)  # without its pooling head, which nothing reads
_DINOV2 = TowerFamily(
    blocks="encoder.layer",
    norm="norm1",
    attention="attention",
    positions="position_embeddings",
    has_cls=True,
    takes_any_size=True,
    vectors=5,
    block_vectors=2,
)
TOWER_FAMILIES = {
    "clip_vision_model": _CLIP,
    "siglip_vision_model": _SIGLIP,
    "dinov2": _DINOV2,
    "dinov2_with_registers": _DINOV2,
}


def find_tower_family(kind: str) -> TowerFamily:
    """Return the family of a tower whose config has the model_type `kind`. Raises UserError."""
    if kind in TOWER_FAMILIES:
        return TOWER_FAMILIES[kind]
    fixed = ""
    if kind.startswith("siglip2"):
        fixed = (
            " SigLIP2 of one resolution says siglip; NaFlex checkpoints have a grid for each image."
        )
    raise UserError(
        f"a vision tower of model_type {kind!r} is not supported: take one of "
        f"{', '.join(TOWER_FAMILIES)}.{fixed}"
    )


# What a projector may read that only a tower with a CLS position has: see Projector.needs.
CLS_NEEDS = frozenset({"tower_attention", "block_attention", "cls"})


def explain_missing_cls(method: str) -> str:
    """Return the message that refuses `method` for a tower without a CLS position."""
    having = ", ".join(kind for kind, family in TOWER_FAMILIES.items() if family.has_cls)
    return (
        f"{method} reads the attention of the tower's CLS position, and this tower has none. Choose a "
        f"tower that has one ({having}), or a method without {', '.join(sorted(CLS_NEEDS))} among its "
        "needs in `vlmscale methods`."
    )
