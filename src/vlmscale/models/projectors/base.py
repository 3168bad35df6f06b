"""The contract of a compressor: one file with one subclass of Projector, found by its file name."""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

from torch import Tensor, nn

from vlmscale.models.features import VisionFeatures

# b images, p patches, v visual tokens, l tower layers, d width of the tower


@dataclass(frozen=True)
class Widths:
    """The sizes a compressor is built for."""

    tower: int  # d
    layers: int  # l, tower layers in VisionFeatures.multilayer
    llm: int
    grid_side: int  # sqrt(p)


class Projector(nn.Module):
    """Turns patch features into the visual tokens that the LLM reads.

    The class attributes are literals: the workflow reads them from the source (vlmscale.methods).
    """

    # What forward() uses beside the patches: of "multilayer", "question".
    needs: ClassVar[tuple[str, ...]] = ()
    # Which numbers of visual tokens there are: "full", all patches; "square", one for each of g x g
    # equal regions.
    counts: ClassVar[str] = "square"
    # (method, visual tokens) of the training run that serves a cell of this method, where it is
    # not the cell's own; visual tokens may be "same" or "full".
    served_by: ClassVar[tuple[str, int | str] | None] = None
    # Choices left to the config, each with its allowed values, default first. Two are read by
    # training: stage1_template and query_turn (see models/conversation.py).
    options: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, widths: Widths, visual_tokens: int, options: dict[str, str]) -> None:
        super().__init__()
        self.visual_tokens = visual_tokens

    def forward(self, features: VisionFeatures) -> Tensor:
        """Features of b images -> (b, v, width of the LLM)."""
        raise NotImplementedError


def projector_class(name: str) -> type[Projector]:
    """The compressor of method `name`; imports its module and no other method's."""
    module = import_module(f"{__package__}.{name}")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Projector) and value is not Projector
    ]
    return found


def region_side(visual_tokens: int, grid_side: int) -> tuple[int, int]:
    """(g, s): visual tokens g x g, each for a region of s x s patches.

    Raises ValueError unless `visual_tokens` is a square whose side divides the grid's.
    """
    g = math.isqrt(visual_tokens)
    if g * g != visual_tokens or grid_side % g:
        raise ValueError(
            f"{visual_tokens} visual tokens: need g x g with g a divisor of the grid side {grid_side}"
        )
    return g, grid_side // g


def two_layer_mlp(d_in: int, d_out: int) -> nn.Sequential:
    """Linear, exact GELU, Linear: the projector of LLaVA-1.5 ("mlp2x_gelu")."""
    return nn.Sequential(nn.Linear(d_in, d_out), nn.GELU(), nn.Linear(d_out, d_out))
