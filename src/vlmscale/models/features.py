"""What a projector reads."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# b images, p patches, l tower layers, d width of the tower, q question tokens, n width of the LLM


@dataclass(frozen=True)
class VisionFeatures:
    """Features of a batch of images. Only what the projector's `needs` name is filled.

    The patches of an image lie row by row on a square grid of grid_side x grid_side.
    """

    # (b, p, d), the last of the tower's selected layers; p = 0 for a method that needs "pixels"
    patches: Tensor
    grid_side: int
    multilayer: Tensor | None = None  # (b, p, l d), all selected layers, joined on channels
    question: Tensor | None = None  # (b, n), the LLM's last hidden state on the question
    question_tokens: Tensor | None = None  # (b, q, n), that state on each token of the question
    question_mask: Tensor | None = None  # (b, q), 0 where question_tokens is padding
    # From the tower's last block: how much the CLS position attends to each patch, as one head of full
    # width, and the patches' keys.
    cls_attention: Tensor | None = None  # (b, p)
    keys: Tensor | None = None  # (b, p, d)
    # Gives the patches of the same images shrunk to a grid of side g: g -> (b, g g, d).
    patches_at: Callable[[int], Tensor] | None = None
