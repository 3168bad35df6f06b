"""What is said about the world: captions, and questions in families that mirror real benchmarks.

| family | about  | mirrors         | asks                                                  |
|--------|--------|-----------------|-------------------------------------------------------|
| exist  | scenes | POPE            | is this coloured shape there? (balanced, hard no's)   |
| attr   | scenes | GQA             | the shape of the object of a colour                   |
| count  | scenes | MME             | how many objects                                      |
| fact   | scenes | ScienceQA, MMMU | see the shape, recall a fact told only in text        |
| char   | pages  | TextVQA         | one letter by its number                              |
| row    | pages  | DocVQA          | a whole line                                          |
"""

from collections.abc import Callable

import numpy as np

from vlmscale.data.world.scenes import COLOURS, SHAPES, Facts, Page, Scene
from vlmscale.settings import World

Turn = tuple[str, str]  # question, answer
CAPTION_REQUESTS = ("describe the image .", "what is shown ?", "what do you see ?")


def caption(subject: Scene | Page) -> str:
    match subject:
        case Scene(objects):
            return " , ".join(f"a {o.colour} {o.shape} {o.place_name}" for o in objects) + " ."
        case Page(lines):
            return " , ".join(f"line {i} {' '.join(s)}" for i, s in enumerate(lines, 1)) + " ."


def ask_exist(world: World, facts: Facts, scene: Scene, rng: np.random.Generator) -> Turn:
    thing = scene.objects[rng.integers(len(scene.objects))]
    colour, shape, answer = thing.colour, thing.shape, "yes"
    if rng.random() < 0.5:
        # Half of the absent pairs keep a colour that is there, so colours alone do not answer.
        answer = "no"
        if rng.random() < 0.5:
            shape = _other(SHAPES[: world.shapes], {shape}, rng)
        else:
            colour = _other(list(COLOURS)[: world.colours], {o.colour for o in scene.objects}, rng)
    return f"is there a {colour} {shape} ?", answer


def ask_attr(world: World, facts: Facts, scene: Scene, rng: np.random.Generator) -> Turn:
    thing = scene.objects[rng.integers(len(scene.objects))]
    return f"what shape is the {thing.colour} object ?", thing.shape


def ask_count(world: World, facts: Facts, scene: Scene, rng: np.random.Generator) -> Turn:
    return "how many objects are there ?", str(len(scene.objects))


def ask_fact(world: World, facts: Facts, scene: Scene, rng: np.random.Generator) -> Turn:
    thing = scene.objects[rng.integers(len(scene.objects))]
    relation = f"r{rng.integers(world.relations)}"
    answer = facts.values[thing.colour, thing.shape, relation]
    return f"what is the {relation} of the {thing.colour} object ?", answer


def ask_char(world: World, facts: Facts, page: Page, rng: np.random.Generator) -> Turn:
    letters = "".join(page.lines)
    place = int(rng.integers(len(letters)))
    return f"which letter is number {place + 1} ?", letters[place]


def ask_row(world: World, facts: Facts, page: Page, rng: np.random.Generator) -> Turn:
    row = int(rng.integers(len(page.lines)))
    return f"read line {row + 1} .", " ".join(page.lines[row])


SCENE_FAMILIES: dict[str, Callable[[World, Facts, Scene, np.random.Generator], Turn]] = {
    "exist": ask_exist,
    "attr": ask_attr,
    "count": ask_count,
    "fact": ask_fact,
}
PAGE_FAMILIES: dict[str, Callable[[World, Facts, Page, np.random.Generator], Turn]] = {
    "char": ask_char,
    "row": ask_row,
}


def conversation(
    world: World, facts: Facts, subject: Scene | Page, rng: np.random.Generator
) -> list[Turn]:
    """Distinct questions about one image. On pages the lines come last: they would give away letters."""
    turns: dict[str, str] = {}
    if isinstance(subject, Scene):
        for family in rng.permutation([*SCENE_FAMILIES, "exist", "attr", "fact"]):
            turns.update([SCENE_FAMILIES[family](world, facts, subject, rng)])
    else:
        for family in ["char"] * min(4, world.lines * world.columns) + ["row"] * 2:
            turns.update([PAGE_FAMILIES[family](world, facts, subject, rng)])
    return list(turns.items())


def _other(pool: list[str] | tuple[str, ...], taken: set[str], rng: np.random.Generator) -> str:
    return str(rng.choice([word for word in pool if word not in taken]))
