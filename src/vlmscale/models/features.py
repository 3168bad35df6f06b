"""What the vision tower hands to a compressor."""

from dataclasses import dataclass

from torch import Tensor

# b images, p patches, l tower layers, d width of the tower, d_llm width of the LLM


@dataclass(frozen=True)
class VisionFeatures:
    """Features of a batch of images; only what the compressor's `needs` names is filled.

    The patches of an image lie row by row on a square grid of grid_side x grid_side.
    """

    patches: Tensor  # (b, p, d), the last of the tower's selected layers
    grid_side: int
    multilayer: Tensor | None = None  # (b, p, l d), all selected layers, joined on channels
    question: Tensor | None = None  # (b, d_llm), the LLM's last hidden state on the question
