"""What exists in the generated world: scenes of coloured shapes, pages of letters, and facts."""

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


@dataclass(frozen=True)
class Object:
    colour: str
    shape: str
    place: int  # 0 to 8, row by row on a 3 x 3 layout

    @property
    def place_name(self) -> str:
        return f"{ROWS[self.place // 3]} {COLUMNS[self.place % 3]}"


@dataclass(frozen=True)
class Scene:
    """One to a few objects; no colour occurs twice, so a colour names an object."""

    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Page:
    """Lines of independent, uniformly drawn letters: nothing to guess from language."""

    lines: tuple[str, ...]


def draw_scene(world: World, rng: np.random.Generator) -> Scene:
    count = int(rng.integers(1, world.objects + 1))
    colours = rng.choice(list(COLOURS)[: world.colours], size=count, replace=False)
    shapes = rng.choice(SHAPES[: world.shapes], size=count)
    places = np.sort(rng.choice(9, size=count, replace=False))
    return Scene(
        tuple(
            Object(str(c), str(s), int(p)) for c, s, p in zip(colours, shapes, places, strict=True)
        )
    )


def draw_page(world: World, rng: np.random.Generator) -> Page:
    letters = rng.choice(list(LETTERS[: world.alphabet]), size=(world.lines, world.columns))
    return Page(tuple("".join(line) for line in letters))


@dataclass(frozen=True)
class Facts:
    """What cannot be seen: for each (colour, shape, relation) a value, told only in text."""

    values: dict[tuple[str, str, str], str]

    @classmethod
    def of(cls, world: World) -> "Facts":
        rng = np.random.default_rng([world.seed, 7])
        keys = [
            (colour, shape, f"r{relation}")
            for colour in list(COLOURS)[: world.colours]
            for shape in SHAPES[: world.shapes]
            for relation in range(world.relations)
        ]
        values = rng.integers(world.values, size=len(keys))
        return cls({key: f"w{value}" for key, value in zip(keys, values, strict=True)})
