"""Parts of a study's config that library functions take as arguments.

They lie apart from study/, so that a new config key does not change the fingerprint of old results.
"""

from vlmscale.settings.base import (
    BILLION,
    IMAGE_TOKEN,
    STAGES,
    Aspect,
    Frozen,
    Number,
    PromptLayout,
    Seed,
    Setting,
    Share,
    Size,
    Stage,
)
from vlmscale.settings.recipes import (
    Execution,
    FeatureLayers,
    Precision,
    Recipe,
    StageRecipe,
    Tower,
    Transformer,
)
from vlmscale.settings.released import Dataset, Released, ReleasedTower
from vlmscale.settings.world import Counts, World

__all__ = [
    "BILLION",
    "IMAGE_TOKEN",
    "STAGES",
    "Aspect",
    "Counts",
    "Dataset",
    "Execution",
    "FeatureLayers",
    "Frozen",
    "Number",
    "Precision",
    "PromptLayout",
    "Recipe",
    "Released",
    "ReleasedTower",
    "Seed",
    "Setting",
    "Share",
    "Size",
    "Stage",
    "StageRecipe",
    "Tower",
    "Transformer",
    "World",
]
