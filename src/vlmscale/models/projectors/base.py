"""The contract of a projector: one file with one subclass of Projector, found by its file name."""

import math
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar

import numpy as np
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig

from vlmscale.errors import UserError
from vlmscale.models.features import VisionFeatures
from vlmscale.models.llm_input import LlmInput
from vlmscale.settings import Setting
from vlmscale.settings.towers import CLS_NEEDS, explain_missing_cls

# b images, p patches, v visual tokens, l tower layers, d tower width, n LLM width


@dataclass(frozen=True)
class Widths:
    """The sizes a projector is built for."""

    tower: int  # d
    layers: int  # l, tower layers in VisionFeatures.multilayer
    llm: int  # n
    grid_side: int  # sqrt(p)
    has_cls: bool = True  # whether the tower has a CLS position
    # The LLM's config, for a method that builds layers of its shape.
    llm_config: PreTrainedConfig | None = field(default=None, compare=False)


class Projector(nn.Module, ABC):
    """Turns patch features into the visual tokens that the LLM reads.

    The class attributes are literals: the workflow reads them from the source (vlmscale.methods).
    Formulas are arithmetic in w, side of the grid of patches; p, patches; v, visual tokens; d, tower
    width; h, tower heads; l, tower layers; n, LLM width; m, LLM layers; b (in `weights`), parameters of one
    LLM layer; and in options: `rounds` is the
    number that the option holds, `(order == "block")` is 1 or 0.
    """

    # Where the method comes from, in a few words.
    source: ClassVar[str] = ""
    # What forward() reads beside the patches: "multilayer", "question", "question_tokens",
    # "question_embeddings", "pixels" (patches_at; with "merged_patches" that, too), "llm_attention" (see
    # `hook_llm`); of a tower with a CLS position also "tower_attention" (cls_attention and keys),
    # "block_attention" (and block_keys), "cls". What prepare_llm_input() reads beside visual tokens:
    # "text_embeddings".
    needs: ClassVar[tuple[str, ...]] = ()
    # The possible numbers of visual tokens: "full", all patches; "square", one for each of g x g equal
    # regions; "square + 1"; "any", up to all patches; "any to <formula>"; "multiples of <number>".
    counts: ClassVar[str] = "square"
    # Options of the config with their allowed values, default first. Training reads three of them:
    # stage1_template and query_turn (models/conversation.py), and training (served_by).
    options: ClassVar[dict[str, tuple[str, ...]]] = {}
    # By value of the option `training`: (method, visual tokens) of the run that serves a cell. method
    # may be "self"; visual tokens "full", "most" (the largest count) or a number. A cell whose value
    # is not listed, or whose method has no such option, has its own run.
    served_by: ClassVar[dict[str, tuple[str, int | str]]] = {}
    # Formulas: parameters, and multiply-adds for one image.
    weights: ClassVar[str] = ""
    multiply_adds: ClassVar[str] = ""
    # Formula: LLM positions that an image takes, averaged over the LLM's layers.
    positions: ClassVar[str] = "v"
    # Formula: LLM positions, so averaged, whose keys and values serve further questions about an image.
    # Questions attend to these alone, once an image has passed through the LLM.
    kept: ClassVar[str] = "v"
    # Formula: layers of the LLM's shape that run over patches, visual tokens and text of each prompt,
    # before the LLM (`prepare_llm_input`). Their parameters stand in `weights`.
    fusion_layers: ClassVar[str] = "0"
    # Formula in w and f, the number of prime factors of w: how often a sample stands in a stage-2 batch,
    # once for each of its `draw_training_counts`.
    stage2_copies: ClassVar[str] = "1"

    def __init__(self, widths: Widths, setting: Setting) -> None:
        super().__init__()
        self.visual_tokens = setting.visual_tokens

    @property
    def reads_question(self) -> bool:
        return any(need.startswith("question") for need in self.needs)

    @property
    def placeholders(self) -> int:
        """Return the number of positions in the LLM's input for one image."""
        return self.visual_tokens

    @abstractmethod
    def forward(self, features: VisionFeatures) -> Tensor | tuple[Tensor, Tensor]:
        """Compress features of b images to visual tokens (b, v, n).

        A method whose count depends on the image returns also which of the v tokens are present,
        (b, v) bool; the LLM never attends to the others. An elastic method takes v as a second,
        optional argument, in place of its own `visual_tokens`.
        """

    @property
    def elastic(self) -> bool:
        """Return whether one training serves several token counts."""
        return type(self).draw_training_counts is not Projector.draw_training_counts

    def draw_training_counts(self, kind: str, rng: np.random.Generator) -> list[int]:
        """Draw the numbers of visual tokens that one batch of stage `kind` is trained at."""
        return [self.visual_tokens]

    def make_context(self, features: VisionFeatures) -> Tensor | None:
        """Return what `prepare_llm_input` reads of b images beside their visual tokens, (b, p, n)."""
        return None

    def prepare_llm_input(self, given: LlmInput) -> LlmInput:
        """Rewrite what the LLM is given, for methods that act on visual tokens and text together.

        It runs once for a prompt, before the LLM, and again in each pass that computes the prompt anew, not
        in passes that continue a cache of it. Gradients go through it. Sequences without an image have to
        stay as they are.
        """
        return given

    def hook_llm(self, llm: nn.Module, places: Tensor | None) -> AbstractContextManager[None]:
        """Return a context for one pass of the LLM, for methods that act inside it.

        places (b, t) bool: the positions of visual tokens in a prompt of t tokens, which generated text
        may follow; None when decoding from a cache.
        """
        return nullcontext()


def find_projector_class(name: str) -> type[Projector]:
    """Return the class of method `name`. Imports the module of no other method."""
    module = import_module(f"{__package__}.{name}")
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Projector) and value is not Projector
    ]
    return found


def build_projector(widths: Widths, setting: Setting) -> Projector:
    """Build the projector of a setting, with fresh weights by the method's own rule.

    Raises UserError for an option or value that the method does not have, and for a method that reads
    the attention of a CLS position where the tower has none.
    """
    found = find_projector_class(setting.method)
    if CLS_NEEDS.intersection(found.needs) and not widths.has_cls:
        raise UserError(explain_missing_cls(setting.method))
    for option, value in setting.options.items():
        if value not in found.options.get(option, ()):
            raise UserError(f"{setting.method} has no option {option} with the value {value!r}.")
    return found(widths, setting)


def find_region_side(visual_tokens: int, grid_side: int) -> tuple[int, int]:
    """Return (g, s): g x g visual tokens, each for a region of s x s patches.

    Raises ValueError unless `visual_tokens` is a square whose side divides the grid's.
    """
    g = math.isqrt(visual_tokens)
    if g * g != visual_tokens or grid_side % g:
        raise ValueError(
            f"visual_tokens={visual_tokens}: choose g x g, with g a divisor of the grid side {grid_side}"
        )
    return g, grid_side // g


def average_regions(patches: Tensor, side: int) -> Tensor:
    """Average each of side x side regions of a square grid, row by row: (b, p, d) -> (b, v, d)."""
    grid_side = math.isqrt(patches.shape[1])
    grid = rearrange(patches, "b (h w) d -> b d h w", h=grid_side)
    return rearrange(functional.avg_pool2d(grid, grid_side // side), "b d h w -> b (h w) d")


def build_mlp(d_in: int, d_out: int) -> nn.Sequential:
    """Build the MLP of LLaVA-1.5 ("mlp2x_gelu"): Linear, exact GELU, Linear."""
    return nn.Sequential(nn.Linear(d_in, d_out), nn.GELU(), nn.Linear(d_out, d_out))
