"""The generated world: scenes of coloured shapes, pages of letters, and facts."""

import hashlib
from dataclasses import dataclass

import numpy as np

from vlmscale.settings import World

COLOURS = {
    "red": (225, 45, 45),
    "green": (45, 190, 70),
    "blue": (60, 95, 235),
    "yellow": (235, 215, 50),
    "purple": (160, 60, 200),
    "orange": (245, 140, 30),
    "white": (240, 240, 240),
    "cyan": (60, 215, 220),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "bar", "star")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "centre", "right")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLUMN_NAMES = "abcdef"  # of a page


@dataclass(frozen=True)
class Object:
    """One coloured shape of a scene."""

    colour: str
    shape: str
    place: int  # 0 to 8, row by row on a 3 x 3 layout

    @property
    def row(self) -> int:
        return self.place // 3

    @property
    def column(self) -> int:
        return self.place % 3

    @property
    def place_name(self) -> str:
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"


@dataclass(frozen=True)
class Scene:
    """A few objects. No colour occurs twice, so a colour names an object."""

    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Page:
    """Lines of equal length, of independent, uniformly drawn letters: language gives nothing away."""

    lines: tuple[str, ...]

    def list_cells(self) -> dict[str, str]:
        """Return place -> letter; columns are called a, b, c, ... and lines 1, 2, 3, ..."""
        return {
            f"{COLUMN_NAMES[column]}{line}": letter
            for line, letters in enumerate(self.lines, 1)
            for column, letter in enumerate(letters)
        }


Subject = Scene | Page  # of an image


def draw_amount(low: int, high: int, world: World, rng: np.random.Generator) -> int:
    """Draw a number of objects, lines or letters of a line, from `low` to `high`, as World.amounts says."""
    return low + int(rng.choice(high - low + 1, p=world.weigh_amounts(low, high)))


def draw_subject(kind: str, world: World, rng: np.random.Generator) -> Subject:
    """Draw a "scene" or a "page"."""
    return draw_scene(world, rng) if kind == "scene" else draw_page(world, rng)


def draw_scene(world: World, rng: np.random.Generator) -> Scene:
    count = draw_amount(1, world.objects, world, rng)
    colours = rng.choice(list(COLOURS)[: world.colours], size=count, replace=False)
    shapes = rng.choice(SHAPES[: world.shapes], size=count)
    places = np.sort(rng.choice(9, size=count, replace=False))
    objects = zip(colours, shapes, places, strict=True)
    return Scene(tuple(Object(str(c), str(s), int(p)) for c, s, p in objects))


def draw_page(world: World, rng: np.random.Generator) -> Page:
    lines = draw_amount(1, world.lines, world, rng)
    columns = draw_amount(world.fewest_columns, world.columns, world, rng)
    letters = rng.choice(list(LETTERS[: world.alphabet]), size=(lines, columns))
    return Page(tuple("".join(line) for line in letters))


@dataclass(frozen=True)
class Facts:
    """A number for each (colour, shape, relation), which no image shows and only text tells.

    Relations occur with a skewed frequency, so that LLMs of different sizes learn different shares. Some
    facts are held out of stage 2: a model that knows them learned them in pretraining.
    """

    values: dict[tuple[str, str, str], int]
    frequency: dict[str, float]  # relation -> share of questions; sums to 1
    held_out_share: float
    with_shape: bool = False

    @classmethod
    def draw(cls, world: World) -> "Facts":
        rng = np.random.default_rng([world.seed, 7])
        relations = [f"r{relation}" for relation in range(world.relations)]
        keys = [
            (colour, shape, relation)
            for colour in list(COLOURS)[: world.colours]
            for shape in SHAPES[: world.shapes]
            for relation in relations
        ]
        values = rng.integers(world.values, size=len(keys))
        weights = 1 / (np.arange(world.relations) + 4)
        return cls(
            {key: int(value) for key, value in zip(keys, values, strict=True)},
            dict(zip(relations, (weights / weights.sum()).tolist(), strict=True)),
            world.held_out_facts,
            world.fact_answers == "shape_and_value",
        )

    def tell(self, colour: str, shape: str, relation: str) -> str:
        """Return the answer to a question for this fact."""
        value = self.values[colour, shape, relation]
        return f"{shape} {value}" if self.with_shape else str(value)

    def is_held_out(self, colour: str, shape: str, relation: str) -> bool:
        """Return whether stage 2 never asks for this fact; those of r0 it does, since sums use them."""
        if relation == "r0":
            return False
        digest = hashlib.sha256(f"{colour} {shape} {relation}".encode()).digest()
        return int.from_bytes(digest[:4]) < self.held_out_share * 2**32
