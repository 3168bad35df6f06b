"""What a projector reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# b images, p patches, l tower layers, d width of the tower, h its heads, q question tokens, n width of
# the LLM

_NOT_COMPUTED: Any = None
# The entry of `needs` by the field it fills, where the two have other names.
_NEED = {
    "question_mask": "question_tokens",
    "cls_attention": "tower_attention",
    "keys": "tower_attention",
    "block_keys": "block_attention",
    "patches_at": "pixels",
}


@dataclass(frozen=True, repr=False)
class VisionFeatures:
    """Features of a batch of images. Reading one that the projector's `needs` do not name is an error.

    The patches of an image lie row by row on a square grid of grid_side x grid_side.
    """

    # (b, p, d), the last of the tower's selected layers; p = 0 for a method that needs "pixels"
    patches: Tensor
    grid_side: int
    multilayer: Tensor = _NOT_COMPUTED  # (b, p, l d), all selected layers, joined on channels
    question: Tensor = _NOT_COMPUTED  # (b, n), the LLM's last hidden state on the question
    question_tokens: Tensor = _NOT_COMPUTED  # (b, q, n), that state on each token of the question
    question_embeddings: Tensor = _NOT_COMPUTED  # (b, q, n), the LLM's embedding of each such token
    question_mask: Tensor = _NOT_COMPUTED  # (b, q), 0 where a token of the question is padding
    # From the tower's last block: how much the CLS position attends to each patch, as one head of full
    # width, and the patches' keys.
    cls_attention: Tensor = _NOT_COMPUTED  # (b, p)
    keys: Tensor = _NOT_COMPUTED  # (b, p, d)
    # From the block whose output `patches` are: how much each head of the CLS position attends to each
    # patch, and the patches' keys, heads side by side.
    block_attention: Tensor = _NOT_COMPUTED  # (b, h, p)
    block_keys: Tensor = _NOT_COMPUTED  # (b, p, d)
    cls: Tensor = _NOT_COMPUTED  # (b, d), the CLS position of the layer that `patches` are of
    # Gives the patches of the same images shrunk to a grid of side g: g -> (b, g g, d).
    patches_at: Callable[[int], Tensor] = _NOT_COMPUTED
    # Gives v patches that the tower has merged in its blocks: v -> (b, v, d).
    merged_patches: Callable[[int], Tensor] = _NOT_COMPUTED

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if value is _NOT_COMPUTED:
            need = _NEED.get(name, name)
            raise AttributeError(
                f'the projector reads features.{name}, but its `needs` lack "{need}". Add it.'
            )
        return value
