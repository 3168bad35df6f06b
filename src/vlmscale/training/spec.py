"""The specs of training processes: one JSON file each, so that anyone can repeat a job. Needs no torch."""

from pathlib import Path
from typing import Literal

from vlmscale.settings import Execution, Frozen, Recipe, Setting, Tower, Transformer


class Paths(Frozen):
    """Where a training writes on its way. `work` holds checkpoints until the result exists."""

    work: Path
    tensorboard: Path


class StageSpec(Setting):
    """Stage 1 (projector only, captions) or stage 2 (projector and LLM, instructions) of one run."""

    kind: Literal["stage1", "stage2"]
    run: str
    seed: int
    template: str
    feature_layers: tuple[int, ...]
    recipe: Recipe
    fingerprint: str
    llm: Path
    tower: Path
    data: Path
    features: Path | None
    projector: Path | None
    output: Path
    record: Path
    paths: Paths
    execution: Execution = Execution()


class LlmSpec(Frozen):
    """Pretraining of a tiny LLM on the text corpus."""

    kind: Literal["llm"]
    shape: Transformer
    template: str
    seed: int
    tokenizer: Path
    data: Path
    output: Path
    record: Path
    paths: Paths


class TowerSpec(Frozen):
    """Pretraining of a tiny vision tower on generated images with patch-wise tags."""

    kind: Literal["tower"]
    shape: Tower
    image_size: int
    seed: int
    data: Path
    output: Path
    record: Path
    paths: Paths


class TokenizerSpec(Frozen):
    """A word-level tokenizer for the LLMs that the study trains itself."""

    kind: Literal["tokenizer"] = "tokenizer"
    words: tuple[str, ...]
    template: str
    output: Path


class FeaturesSpec(Frozen):
    """The tower's features of every image of a split."""

    kind: Literal["features"] = "features"
    data: Path
    tower: Path
    feature_layers: tuple[int, ...]
    output: Path


Spec = StageSpec | LlmSpec | TowerSpec
