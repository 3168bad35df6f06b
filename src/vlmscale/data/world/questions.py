"""Text about the generated world: captions, and questions in families that mirror real benchmarks.

| family | about  | mirrors         | asks                                                      |
|--------|--------|-----------------|-----------------------------------------------------------|
| exist  | scenes | POPE            | whether a coloured shape is there (balanced, hard no's)   |
| attr   | scenes | GQA             | the shape of the object of a colour                       |
| rel    | scenes | GQA             | whether one object is left of or above another (balanced) |
| count  | scenes | MME             | the number of objects                                     |
| fact   | scenes | ScienceQA, MMMU | a fact about an object that only text states              |
| calc   | scenes | MathVista       | a fact plus a small number                                |
| choice | scenes | MMBench, AI2D   | the shape of an object, out of three options              |
| char   | pages  | TextVQA         | one letter by the name of its place                       |
| row    | pages  | DocVQA          | a line                                                    |
| field  | pages  | DocVQA          | the rest of a line, named by its first letter, as in a form |

Questions are short, because tiny LLMs spend most of their compute on them. A family gives None for a
subject that it has no question about.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from vlmscale.data.world.scenes import (
    COLOURS,
    COLUMN_NAMES,
    COLUMNS,
    LETTERS,
    ROWS,
    SHAPES,
    Facts,
    Page,
    Scene,
    Subject,
)
from vlmscale.settings import World

T = TypeVar("T")
Turn = tuple[str, str]  # question, answer
CAPTION_REQUESTS = ("describe the image .", "what is shown ?", "what do you see ?")
OPTIONS = ("x", "y", "z")
MOST_ADDED = 4


def describe_subject(subject: Subject) -> str:
    """Return a caption that says all there is to see."""
    if isinstance(subject, Scene):
        parts = (f"{o.colour} {o.shape} {o.place_name}" for o in subject.objects)
        return " , ".join(parts) + " ."
    return " ".join(f"{place} {letter}" for place, letter in subject.list_cells().items()) + " ."


class Asker:
    """Draws questions about one world.

    stage: which facts it may ask for: "pretraining" all, "stage2" those not held out, "test" those held
    out (and for sums those of r0).
    """

    def __init__(self, world: World, facts: Facts, stage: str, rng: np.random.Generator) -> None:
        self.world, self.facts, self.stage, self.rng = world, facts, stage, rng
        self.colours, self.shapes = list(COLOURS)[: world.colours], SHAPES[: world.shapes]

    def ask_exist(self, scene: Scene) -> Turn:
        item = self._pick(scene.objects)
        colour, shape, answer = item.colour, item.shape, "yes"
        if self.rng.random() < 0.5:
            # A hard no keeps a colour that is there, so that colours alone do not answer.
            answer = "no"
            if self.rng.random() < self.world.difficulty:
                shape = self._pick_other(self.shapes, {shape})
            else:
                colour = self._pick_other(self.colours, {o.colour for o in scene.objects})
        return f"any {colour} {shape} ?", answer

    def ask_attr(self, scene: Scene) -> Turn:
        item = self._pick(scene.objects)
        return f"shape of {item.colour} ?", item.shape

    def ask_rel(self, scene: Scene) -> Turn | None:
        if len(scene.objects) < 2:
            return None
        first, second = self.rng.permutation(len(scene.objects))[:2]
        one, other = scene.objects[first], scene.objects[second]
        places = (("left", one.column, other.column), ("above", one.row, other.row))
        name, holds = self._pick([(name, a < b) for name, a, b in places if a != b])
        return f"{one.colour} {name} {other.colour} ?", "yes" if holds else "no"

    def ask_count(self, scene: Scene) -> Turn:
        return "how many ?", str(len(scene.objects))

    def ask_fact(self, scene: Scene) -> Turn | None:
        item = self._pick(scene.objects)
        relation = self._draw_relation(item.colour, item.shape)
        if relation is None:
            return None
        answer = self.facts.tell(item.colour, item.shape, relation)
        return f"{relation} of {item.colour} ?", answer

    def ask_calc(self, scene: Scene) -> Turn:
        item = self._pick(scene.objects)
        added = int(self.rng.integers(1, MOST_ADDED + 1))
        value = self.facts.values[item.colour, item.shape, "r0"] + added
        return f"r0 of {item.colour} plus {added} ?", str(value)

    def ask_choice(self, scene: Scene) -> Turn:
        item = self._pick(scene.objects)
        others = [shape for shape in self.shapes if shape != item.shape]
        size = min(len(OPTIONS), 1 + len(others)) - 1
        shown = [item.shape, *self.rng.choice(others, size=size, replace=False)]
        order = self.rng.permutation(len(shown))
        options = " ".join(f"{OPTIONS[i]} {shown[j]}" for i, j in enumerate(order))
        return f"{item.colour} : {options} ?", OPTIONS[int(np.argmin(order))]

    def ask_char(self, page: Page) -> Turn:
        place, letter = self._pick(sorted(page.list_cells().items()))
        return f"letter {place} ?", letter

    def ask_row(self, page: Page) -> Turn:
        line = int(self.rng.integers(len(page.lines)))
        return f"line {line + 1} ?", " ".join(page.lines[line])

    def ask_field(self, page: Page) -> Turn | None:
        keys = [line[0] for line in page.lines]
        unique = [line for line in page.lines if keys.count(line[0]) == 1]
        if not unique:
            return None
        line = self._pick(unique)
        if len(line) == 1:  # nothing comes after
            return None
        return f"after {line[0]} ?", " ".join(line[1:])

    def ask_sum(self) -> Turn:
        """Draw a sum, which needs no image."""
        value, added = self.rng.integers(self.world.values), self.rng.integers(1, MOST_ADDED + 1)
        return f"{value} plus {added} ?", str(value + added)

    def ask_fact_in_text(self) -> Turn:
        """Draw a question for a fact that needs no image."""
        while True:
            colour, shape = self._pick(self.colours), self._pick(self.shapes)
            relation = self._draw_relation(colour, shape)
            if relation is not None:
                answer = self.facts.tell(colour, shape, relation)
                return f"{relation} of {colour} {shape} ?", answer

    def _draw_relation(self, colour: str, shape: str) -> str | None:
        """Draw by frequency among the relations that this stage may ask for; None if there is none."""
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

    def _pick_other(self, words: Sequence[str], excluded: set[str]) -> str:
        return self._pick([word for word in words if word not in excluded])


def _get_families(*names: str) -> dict[str, Callable[[Asker, Any], Turn | None]]:
    return {name: getattr(Asker, f"ask_{name}") for name in names}


SCENE_FAMILIES = _get_families("exist", "attr", "rel", "count", "fact", "calc", "choice")
PAGE_FAMILIES = _get_families("char", "row", "field")


def select_families(
    world: World, subject: Subject
) -> dict[str, Callable[[Asker, Any], Turn | None]]:
    """Return the families of questions about `subject` that this world asks."""
    families = SCENE_FAMILIES if isinstance(subject, Scene) else PAGE_FAMILIES
    return {name: ask for name, ask in families.items() if name in world.families}


def draw_conversation(asker: Asker, subject: Subject) -> list[Turn]:
    """Draw distinct questions about one image, at least one of every family, in random order."""
    families = select_families(asker.world, subject)
    if isinstance(subject, Scene):
        names = [*SCENE_FAMILIES, "attr", "fact"]
    else:
        names = ["char"] * 5 + ["row"] * 2 + ["field"] * 2
    names = [name for name in names if name in families]
    turns = [families[name](asker, subject) for name in asker.rng.permutation(names)]
    return list(dict(turn for turn in turns if turn is not None).items())


def list_vocabulary(world: World) -> list[str]:
    """Return every word that can occur, in a fixed order."""
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
        *LETTERS[: world.alphabet],
        *(
            f"{column}{line}"
            for column in COLUMN_NAMES[: max(4, world.columns)]
            for line in range(1, max(4, world.lines) + 1)
        ),
    ]
    return list(dict.fromkeys(words))
