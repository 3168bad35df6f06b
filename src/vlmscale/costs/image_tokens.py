"""What a budget of visual tokens means to each family of released VLMs, and what their towers cost.

A budget is a number of visual tokens V of one image in the LLM, its markers apart. Families reach it by
the pixels an image is resized to, or by the tiles it is cut into, so V depends on the image: `count_tokens`
says how. Sources: the processors of transformers.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from vlmscale.errors import UserError
from vlmscale.resources import read_rows
from vlmscale.settings.vlms import VlmFamily


class ImageTokens(ABC):
    """How the processor of a family turns an image into visual tokens."""

    @abstractmethod
    def list_budgets(self) -> "range | list[int]":
        """Return the budgets that the family can give."""

    @abstractmethod
    def make_arguments(self, budget: int) -> dict[str, Any]:
        """Return what evaluation/vlm_adapters.py gives the adapter or its processor for a budget."""

    @abstractmethod
    def count_tokens(self, width: int, height: int, budget: int) -> int:
        """Return V of an image of width x height pixels."""

    @abstractmethod
    def list_passes(self, budget: int) -> list[int]:
        """Return the patches of each pass through the tower, at most, for one image."""

    def describe_budgets(self) -> str:
        """Return the budgets that the family can give, for people."""
        budgets = self.list_budgets()
        if isinstance(budgets, range):
            return f"any number from {budgets[0]} to {budgets[-1]}"
        return ", ".join(map(str, budgets))


@dataclass(frozen=True)
class ResizedImage(ImageTokens):
    """Qwen's: an image is resized to whole tokens of side x side pixels, here to the budget's pixels.

    Small images are enlarged, so that V of all images is near the budget; it is a product of whole numbers.
    """

    side: int

    def list_budgets(self) -> range:
        return range(4, 16_385)  # the bounds of qwen_vl_utils

    def make_arguments(self, budget: int) -> dict[str, Any]:
        return dict.fromkeys(("min_pixels", "max_pixels"), budget * self.side**2)

    def count_tokens(self, width: int, height: int, budget: int) -> int:
        side, pixels = self.side, budget * self.side**2
        rows, columns = (round(length / side) for length in (height, width))
        scale = math.sqrt(width * height / pixels)
        if rows * columns * side**2 > pixels:
            rows, columns = (
                max(1, math.floor(length / scale / side)) for length in (height, width)
            )
        elif rows * columns * side**2 < pixels:
            rows, columns = (math.ceil(length / scale / side) for length in (height, width))
        return rows * columns

    def list_passes(self, budget: int) -> list[int]:
        return [4 * budget]  # 2 x 2 patches make a token


@dataclass(frozen=True)
class TiledImage(ImageTokens):
    """InternVL's: an image is cut into tiles of one size; several tiles have a thumbnail beside them."""

    tokens: int = 256  # of a tile
    patches: int = 1024
    pixels: int = 448  # side of a tile
    most: int = 12

    def list_budgets(self) -> list[int]:
        return [self._count(tiles) for tiles in range(1, self.most + 1)]

    def _count(self, tiles: int) -> int:
        return self.tokens * (tiles + (tiles > 1))

    def _count_tiles(self, budget: int) -> int:
        return self.list_budgets().index(budget) + 1

    def make_arguments(self, budget: int) -> dict[str, Any]:
        return {"min_patches": 1, "max_patches": self._count_tiles(budget)}

    def count_tokens(self, width: int, height: int, budget: int) -> int:
        most, ratio = self._count_tiles(budget), width / height
        grids = [
            (across, down)
            for across in range(1, most + 1)
            for down in range(1, most + 1)
            if across * down <= most
        ]
        tiles, nearest = 1, math.inf
        for across, down in sorted(grids, key=math.prod):
            distance = abs(ratio - across / down)
            enough = width * height > 0.5 * self.pixels**2 * across * down
            if distance < nearest or (distance == nearest and enough):
                tiles, nearest = across * down, distance
        return self._count(tiles)

    def list_passes(self, budget: int) -> list[int]:
        return [self.patches] * (budget // self.tokens)


@dataclass(frozen=True)
class PaddedTiles(ImageTokens):
    """LLaVA-OneVision's: a whole view, and tiles without their padding, one newline after each row.

    The features of tiles are scaled down to the budget's where they are more.
    """

    side: int = 27  # tokens, and patches, of a view
    pixels: int = 384
    most: int = 9
    longest: int = 6  # tiles in a row or column

    def list_budgets(self) -> list[int]:
        return [self.side**2 * (tiles + 1) for tiles in range(1, self.most + 1)]

    def _count_tiles(self, budget: int) -> int:
        return budget // self.side**2 - 1

    def make_arguments(self, budget: int) -> dict[str, Any]:
        tiles = self._count_tiles(budget)
        return {"vision_aspect_ratio": f"anyres_max_{tiles}", "grid": self._list_grids(tiles)}

    def _list_grids(self, tiles: int) -> list[list[int]]:
        """Return height and width in pixels of each grid of at most `tiles`, in the processor's order."""
        sides = range(1, self.longest + 1)
        grids = [(down, across) for down in sides for across in sides if down * across <= tiles]
        return [[down * self.pixels, across * self.pixels] for down, across in grids]

    def count_tokens(self, width: int, height: int, budget: int) -> int:
        tiles = self._count_tiles(budget)
        best: tuple[int, int] = max(
            ((h, w) for h, w in self._list_grids(tiles)), key=lambda g: self._fit(width, height, *g)
        )
        rows, columns = (self.side * length // self.pixels for length in best)
        if width / height > columns / rows:
            rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
        ratio = math.sqrt(rows * columns / (tiles * self.side**2))
        if ratio > 1.1:
            rows, columns = int(rows // ratio), int(columns // ratio)
        return self.side**2 + rows * columns + rows

    @staticmethod
    def _fit(width: int, height: int, down: int, across: int) -> tuple[int, int]:
        """Return the pixels of the image that a grid keeps, then, negated, those it wastes."""
        scale = min(across / width, down / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - across * down

    def list_passes(self, budget: int) -> list[int]:
        return [self.side**2] * (self._count_tiles(budget) + 1)


IMAGE_TOKENS: dict[VlmFamily, ImageTokens] = {
    "qwen2_5_vl": ResizedImage(28),
    "qwen3_vl": ResizedImage(32),
    "internvl3": TiledImage(),
    "internvl3_5": TiledImage(),
    "llava_onevision": PaddedTiles(),
}


@dataclass(frozen=True)
class VlmTower:
    """The shape of a released VLM's tower; its cost follows the pixels it is shown."""

    layers: int
    windowed_layers: int  # of them: attention within windows
    window: int  # patches of a window
    hidden_size: int
    intermediate_size: int
    mlp_matrices: int  # 3 where it is gated
    patch_size: int
    frames: int  # of a patch: an image counts as so many
    special: int  # positions beside patches
    merge: int  # merge x merge patches make a token
    mergers: int  # to the LLM's width: one, and one for each layer that DeepStack reads
    wide_merger: int  # whether the first matrix of a merger keeps its width, instead of the LLM's

    @property
    def total_b(self) -> float:
        """Billions of weights, those to the LLM's width apart."""
        h = self.hidden_size
        block = 4 * h * h + self.mlp_matrices * h * self.intermediate_size
        return (self.layers * block + self._patch_weights) / 1e9

    @property
    def _patch_weights(self) -> int:
        return 3 * self.frames * self.patch_size**2 * self.hidden_size

    def gflops(self, passes: list[int], llm_width: int) -> float:
        """Return GFLOPs of one image. passes: patches of each pass; llm_width: hidden size of the LLM.

        Every matrix product counts, those of the merger too.
        """
        h, merged = self.hidden_size, self.hidden_size * self.merge**2
        inner = merged if self.wide_merger else llm_width
        merger = self.mergers * (merged * inner + inner * llm_width)
        total = 0.0
        for patches in passes:
            positions = patches + self.special
            weights = 4 * h * h + self.mlp_matrices * h * self.intermediate_size
            whole = (self.layers - self.windowed_layers) * positions
            pairs = positions * (whole + self.windowed_layers * min(self.window, positions))
            total += patches * self._patch_weights + self.layers * positions * weights
            total += 2 * h * pairs + patches / self.merge**2 * merger
        return 2 * total / 1e9


def find_vlm_tower(name: str) -> VlmTower:
    """Return the tower of a row of resources/vlm_towers.csv. Raises UserError."""
    rows = {row.pop("tower"): row for row in read_rows("vlm_towers.csv")}
    if name not in rows:
        raise UserError(
            f"no tower {name!r} in resources/vlm_towers.csv. There are: {', '.join(rows)}. Add a row."
        )
    return VlmTower(**{key: int(value) for key, value in rows[name].items() if key != "source"})
