"""Generated worlds of all sizes and difficulties."""

import numpy as np

from vlmscale.data.world.questions import PAGE_FAMILIES, SCENE_FAMILIES, Asker
from vlmscale.data.world.scenes import Facts, Object, Page, Scene
from vlmscale.settings import World

WORLD = World()

FACTS = Facts.draw(WORLD)

FULL = {"objects": 4, "lines": 4, "columns": 4}

WORLDS = {
    "default": WORLD,
    "smallest": World(
        **{"colours": 2, "shapes": 2, "objects": 1, "relations": 2, "values": 2},
        **{"held_out_facts": 0.6, "alphabet": 3, "lines": 1, "columns": 2},
    ),
    "largest": World(seed=4, **FULL, relations=20, values=64, alphabet=26),
    "easy": World(seed=2, **FULL, difficulty=0),
    "hard": World(seed=3, **FULL, difficulty=1),
    "graded": World(
        **{"seed": 5, "amounts": "log_uniform", "objects": 7, "lines": 6, "columns": 6},
        fact_answers="shape_and_value",
        families=("exist", "attr", "count", "fact", "calc", "choice", "char", "row", "field"),
    ),
}

FAMILIES = {**SCENE_FAMILIES, **PAGE_FAMILIES}

SCENE = Scene((Object("red", "circle", 0), Object("blue", "star", 7)))

PAGE = Page(("ABC", "CAD", "CBA"))


def make_asker(world, stage="pretraining", seed=0):
    return Asker(world, Facts.draw(world), stage, np.random.default_rng(seed))


def list_held_out(world):
    return {key for key in Facts.draw(world).values if Facts.draw(world).is_held_out(*key)}
