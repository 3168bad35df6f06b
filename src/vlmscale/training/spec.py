"""The specs of training processes: one JSON file each, so that anyone can repeat a job. Needs no torch."""

from pathlib import Path
from typing import Literal

from vlmscale.settings import (
    Execution,
    Frozen,
    Precision,
    PromptLayout,
    Recipe,
    Setting,
    Stage,
    Tower,
    Transformer,
)


class Paths(Frozen):
    """Where a training writes on its way. `work` holds checkpoints until the result exists."""

    work: Path
    tensorboard: Path


class _Training(Frozen):
    seed: int
    data: Path
    output: Path
    record: Path
    paths: Paths


class StageSpec(Setting, _Training):
    """Stage 1 (projector only, captions) or stage 2 (projector and LLM, instructions) of one run."""

    kind: Stage
    run: str
    template: str
    feature_layers: tuple[int, ...]
    image_size: int | None = None  # of the tower, by default its own
    prompt_layout: PromptLayout = "image_first"
    recipe: Recipe
    fingerprint: str
    llm: Path
    tower: Path
    features: Path | None
    projector: Path | None
    execution: Execution = Execution()


class LlmSpec(_Training):
    """Pretraining of a tiny LLM on the text corpus."""

    kind: Literal["llm"]
    shape: Transformer
    template: str
    tokenizer: Path


class TowerSpec(_Training):
    """Pretraining of a tiny vision tower on generated images with patch-wise tags."""

    kind: Literal["tower"]
    shape: Tower
    image_size: int


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
    image_size: int | None = None  # as of StageSpec
    precision: Precision = "fp32"
    output: Path


Spec = StageSpec | LlmSpec | TowerSpec
# Fields with files and folders that a training reads, and with those that it writes.
INPUTS = ("llm", "tower", "tokenizer", "data", "features", "projector")
OUTPUTS = ("output", "record", "paths")
