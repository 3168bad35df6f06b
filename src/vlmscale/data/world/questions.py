"""What is said about the world: captions, and questions in families that mirror real benchmarks.

| family | about  | mirrors         | asks                                                      |
|--------|--------|-----------------|-----------------------------------------------------------|
| exist  | scenes | POPE            | is this coloured shape there? (balanced, hard no's)       |
| attr   | scenes | GQA             | the shape of the object of a colour                       |
| rel    | scenes | GQA             | is one object left of, or above, another? (balanced)      |
| count  | scenes | MME             | how many objects                                          |
| fact   | scenes | ScienceQA, MMMU | see the shape, recall a fact told only in text            |
| calc   | scenes | MathVista       | a fact, and a small number added to it                    |
| choice | scenes | MMBench, AI2D   | the shape of an object, out of three options              |
| char   | pages  | TextVQA         | one letter by the name of its place                       |
| row    | pages  | DocVQA          | a whole line                                              |
| field  | pages  | DocVQA          | what stands after a letter that begins a line, as in a form |

Questions are short: tiny LLMs spend most of their compute on them. A family returns None for a subject
that it has no question about.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from vlmscale.data.world.scenes import COLOURS, COLUMNS, LETTERS, ROWS, SHAPES, Facts, Page, Scene
from vlmscale.settings import World

T = TypeVar("T")
Turn = tuple[str, str]  # question, answer
CAPTION_REQUESTS = ("describe the image .", "what is shown ?", "what do you see ?")
OPTIONS = ("x", "y", "z")
MOST_ADDED = 4


def describe_subject(subject: Scene | Page) -> str:
    """All there is to see, in words."""
    match subject:
        case Scene(objects):
            return " , ".join(f"{o.colour} {o.shape} {o.place_name}" for o in objects) + " ."
        case Page():
            cells = subject.cells()
            return " ".join(f"{place} {letter}" for place, letter in cells.items()) + " ."


class Asker:
    """Draws questions about one world.

    stage: which facts may be asked for: "pretraining" all, "stage2" those not held out, "test" only
    those held out (sums use other ones).
    """

    def __init__(self, world: World, facts: Facts, stage: str, rng: np.random.Generator) -> None:
        self.world, self.facts, self.stage, self.rng = world, facts, stage, rng
        self.colours, self.shapes = list(COLOURS)[: world.colours], SHAPES[: world.shapes]

    def exist(self, scene: Scene) -> Turn:
        thing = self._pick(scene.objects)
        colour, shape, answer = thing.colour, thing.shape, "yes"
        if self.rng.random() < 0.5:
            # A hard no keeps a colour that is there, so that colours alone do not answer.
            answer = "no"
            if self.rng.random() < self.world.difficulty:
                shape = self._other(self.shapes, {shape})
            else:
                colour = self._other(self.colours, {o.colour for o in scene.objects})
        return f"any {colour} {shape} ?", answer

    def attr(self, scene: Scene) -> Turn:
        thing = self._pick(scene.objects)
        return f"shape of {thing.colour} ?", thing.shape

    def rel(self, scene: Scene) -> Turn | None:
        if len(scene.objects) < 2:
            return None
        first, second = self.rng.permutation(len(scene.objects))[:2]
        one, other = scene.objects[first], scene.objects[second]
        asked = [
            (name, mine < its)
            for name, mine, its in (
                ("left", one.column, other.column),
                ("above", one.row, other.row),
            )
            if mine != its
        ]
        name, holds = self._pick(asked)
        return f"{one.colour} {name} {other.colour} ?", "yes" if holds else "no"

    def count(self, scene: Scene) -> Turn:
        return "how many ?", str(len(scene.objects))

    def fact(self, scene: Scene) -> Turn | None:
        thing = self._pick(scene.objects)
        relation = self.relation(thing.colour, thing.shape)
        if relation is None:
            return None
        value = self.facts.values[thing.colour, thing.shape, relation]
        return f"{relation} of {thing.colour} ?", str(value)

    def calc(self, scene: Scene) -> Turn:
        thing = self._pick(scene.objects)
        added = int(self.rng.integers(1, MOST_ADDED + 1))
        value = self.facts.values[thing.colour, thing.shape, "r0"] + added
        return f"r0 of {thing.colour} plus {added} ?", str(value)

    def choice(self, scene: Scene) -> Turn:
        thing = self._pick(scene.objects)
        others = [shape for shape in self.shapes if shape != thing.shape]
        size = min(len(OPTIONS), 1 + len(others)) - 1
        shown = [thing.shape, *self.rng.choice(others, size=size, replace=False)]
        order = self.rng.permutation(len(shown))
        options = " ".join(f"{OPTIONS[i]} {shown[j]}" for i, j in enumerate(order))
        return f"{thing.colour} : {options} ?", OPTIONS[int(np.argmin(order))]

    def char(self, page: Page) -> Turn:
        place = self._pick(sorted(page.cells()))
        return f"letter {place} ?", page.cells()[place]

    def row(self, page: Page) -> Turn:
        line = int(self.rng.integers(len(page.lines)))
        return f"line {line + 1} ?", " ".join(page.lines[line])

    def field(self, page: Page) -> Turn | None:
        keys = [line[0] for line in page.lines]
        unique = [line for line in page.lines if keys.count(line[0]) == 1]
        if not unique:
            return None
        line = self._pick(unique)
        return f"after {line[0]} ?", " ".join(line[1:])

    def addition(self) -> Turn:
        """A sum without an image."""
        value, added = self.rng.integers(self.world.values), self.rng.integers(1, MOST_ADDED + 1)
        return f"{value} plus {added} ?", str(value + added)

    def known_fact(self) -> Turn:
        """A fact told in text."""
        while True:
            colour, shape = self._pick(self.colours), self._pick(self.shapes)
            relation = self.relation(colour, shape)
            if relation is not None:
                value = self.facts.values[colour, shape, relation]
                return f"{relation} of {colour} {shape} ?", str(value)

    def relation(self, colour: str, shape: str) -> str | None:
        """One that this stage may ask for, by frequency; None if there is none."""
        allowed = [
            relation
            for relation in self.facts.frequency
            if self.stage == "pretraining"
            or self.facts.is_held_out(colour, shape, relation) == (self.stage == "test")
        ]
        if not allowed:
            return None
        weights = np.array([self.facts.frequency[relation] for relation in allowed])
        return str(self.rng.choice(allowed, p=weights / weights.sum()))

    def _pick(self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]

    def _other(self, pool: Sequence[str], taken: set[str]) -> str:
        return self._pick([word for word in pool if word not in taken])


SCENE_FAMILIES: dict[str, Callable[[Asker, Scene], Turn | None]] = {
    "exist": Asker.exist,
    "attr": Asker.attr,
    "rel": Asker.rel,
    "count": Asker.count,
    "fact": Asker.fact,
    "calc": Asker.calc,
    "choice": Asker.choice,
}
PAGE_FAMILIES: dict[str, Callable[[Asker, Page], Turn | None]] = {
    "char": Asker.char,
    "row": Asker.row,
    "field": Asker.field,
}


def draw_conversation(asker: Asker, subject: Scene | Page) -> list[Turn]:
    """Distinct questions about one image, every family once or more, in random order."""
    found: list[Turn | None]
    if isinstance(subject, Scene):
        families = [*SCENE_FAMILIES, "attr", "fact"]
        found = [SCENE_FAMILIES[f](asker, subject) for f in asker.rng.permutation(families)]
    else:
        families = ["char"] * 5 + ["row"] * 2 + ["field"] * 2
        found = [PAGE_FAMILIES[f](asker, subject) for f in asker.rng.permutation(families)]
    return list(dict(turn for turn in found if turn is not None).items())


def list_vocabulary(world: World) -> list[str]:
    """Every word that can occur, in a fixed order."""
    letters = LETTERS[: world.alphabet]
    places = [f"{column}{line}" for column in "abcd" for line in range(1, 5)]
    words = [
        *" ".join(CAPTION_REQUESTS).split(),
        *("any", "shape", "of", "left", "above", "how", "many", "plus", "letter", "line", "after"),
        *("yes", "no", "?", ":", ",", "."),
        *list(COLOURS)[: world.colours],
        *SHAPES[: world.shapes],
        *ROWS,
        *COLUMNS,
        *OPTIONS,
        *(f"r{relation}" for relation in range(world.relations)),
        *map(str, range(world.values + MOST_ADDED)),
        *letters,
        *places,
    ]
    return list(dict.fromkeys(words))
