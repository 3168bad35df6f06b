"""A study as its config describes it: what all kinds share.

Callers use `Study` alone. What differs between the two of kinds.py is a property or method.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from vlmscale.costs import shapes
from vlmscale.costs.cluster import Cluster
from vlmscale.costs.shapes import Decoder
from vlmscale.methods import Variant, find_variant
from vlmscale.settings import (
    STAGES,
    Counts,
    Frozen,
    PromptLayout,
    Recipe,
    Released,
    ReleasedTower,
    Stage,
    StageRecipe,
    Tower,
    Transformer,
)
from vlmscale.study.parts import Block, Data, Datasets, Evaluation, Exclude, Laws, Name
from vlmscale.study.questions import choose_benchmarks
from vlmscale.study.selection import FULL, SizeAxis


class Study(Frozen, ABC):
    """Everything that decides the results of a study, and how it is run."""

    study: Name = Field(description="name of the study and of its folder in results/")
    data: Data | Datasets
    tower: Tower | ReleasedTower
    llms: dict[Name, Transformer] | dict[Name, Released]
    template: Literal[
        "qa", "qwen", "qwen_next", "vicuna_v1", "qwen2_5", "qwen3", "smollm2", "llama3"
    ] = Field(
        "qa",
        description="conversation format of the LLMs and its supervised positions. qa: the end of an "
        "answer; qwen (ChatML): answers and their end; qwen_next (same tokens): also headers of "
        "answers, newlines, <|im_start|> and <|im_end|>, as the LLaVA-NeXT code; vicuna_v1 "
        "(LLaVA-1.5): answers and </s>; qwen2_5, qwen3 (without thinking), smollm2, llama3 (3.1 to 3.3): "
        "answers and their end",
    )
    prompt_layout: PromptLayout = Field(
        "image_first",
        description="what comes first in the turn with the image, in training and evaluation. "
        "image_first: as LLaVA; text_first: the question, whose pass through the LLM can be shared by "
        "images; of a conversation, the first question alone",
    )
    grid: tuple[Block, ...] = Field(
        min_length=1, description="the cells: union of the products of all blocks"
    )
    exclude: tuple[Exclude, ...] = Field((), description="cells of the grid to leave out")
    methods: dict[Name, dict[str, str]] = Field(
        {},
        description="method -> its options (`quecc: {query_turn: last}`), or a name of your own -> "
        "`method` and options (`pooled: {method: avgpool, training: free}`); `vlmscale methods` lists "
        "the choices",
    )
    stage1: StageRecipe = Field(description="training of the projector alone, on captions")
    stage2: StageRecipe = Field(description="training of projector and LLM, on conversations")
    budgets: dict[Name, dict[str, Any]] = Field(
        {},
        description="name of a training budget -> what it changes of stage2 (`short: {steps: 100}`); "
        "runs that differ in nothing else share stage 1",
    )
    vision_cache: bool = Field(
        description="compute the tower's features once for all cells and keep them on disk (float32); not "
        "those of released benchmarks, whose images pass through the tower in each evaluation"
    )
    evaluation: Evaluation = Field(description="benchmarks and their protocol")
    latency: bool = Field(
        False,
        description="also time every cell's answer on this machine (latency.parquet and a figure); "
        "no other result depends on it",
    )
    laws: Laws = Field(description="which cells are fitted together, and how")
    cluster: Cluster = Field(
        Cluster(), description="the machines that jobs request; changing it reruns nothing"
    )

    # What each kind declares.
    rule_files: ClassVar[tuple[str, ...]]  # of rules/: those that not all kinds have
    is_generated: ClassVar[bool]  # so each training seed has its own sample of the world
    shared_splits: ClassVar[tuple[str, ...]]  # the same for all seeds

    @property
    @abstractmethod
    def tower_shape(self) -> shapes.Tower:
        """The shape of the vision tower."""

    @property
    def chosen_image_size(self) -> int | None:
        """The side of the tower's images where the study chooses another than the tower's own."""
        return None

    @property
    @abstractmethod
    def tower_name(self) -> str:
        """What reports call the vision tower."""

    @property
    @abstractmethod
    def decoders(self) -> dict[str, Decoder]:
        """The shape of every LLM, with vocabulary 0 where the study makes the tokenizer, too."""

    @property
    def pretrainings(self) -> dict[str, tuple[Recipe, Counts]]:
        """Name of each backbone that the study pretrains -> its recipe and data."""
        return {}

    @property
    def nominal_sizes(self) -> dict[str, float]:
        """LLM -> billions of parameters according to its name, if that says so."""
        return {llm: shape.nominal_b for llm, shape in self.decoders.items() if shape.nominal_b}

    @abstractmethod
    def _count_questions_of(self, row: Mapping[str, str]) -> int:
        """Return the questions of a benchmark; row: its row of benchmarks.csv."""

    @property
    def baseline(self) -> str:
        """The method that the others are compared with."""
        return self.laws.baseline or self.grid[0].methods[0]

    @property
    def methods_without_law(self) -> list[str]:
        """The methods of the grid that are in no series, in a study that has series."""
        fitted = {name for names in self.laws.series.values() for name in names}
        in_grid = dict.fromkeys(name for block in self.grid for name in block.methods)
        return [name for name in in_grid if name not in fitted] if fitted else []

    @property
    def size_axis(self) -> SizeAxis:
        """What the N of the laws counts."""
        return self.laws.size or ("total" if self.is_generated else "nominal")

    def find_variant(self, name: str) -> Variant:
        """Return the method that this study calls `name`, with its options."""
        return find_variant(name, self.methods)

    def has_stored_features(self, split: str) -> bool:
        """Return whether the tower's features of a split are stored; never those of released benchmarks.

        Benchmarks are read by lmms-eval from their own files, not from a folder of samples.
        """
        return self.vision_cache and (split in STAGES or (self.is_generated and split == "test"))

    def stores_features(self, name: str, split: str) -> bool:
        """Return whether the method `name` reads stored features of a split, and runs no tower."""
        reads_pixels = "pixels" in self.find_variant(name).method.needs
        return self.has_stored_features(split) and not reads_pixels

    def get_recipe(self, stage: Stage, budget: str) -> StageRecipe:
        """Return the recipe of a stage at a training budget, which changes stage 2 only."""
        if stage == "stage1":
            return self.stage1
        changes = self.budgets[budget] if budget != FULL else {}
        lengths = {"epochs", "steps"}  # one replaces the other
        replaced = lengths if lengths & set(changes) else set()
        old = self.stage2.model_dump(exclude=replaced)
        return StageRecipe.model_validate({**old, **changes}, strict=True)

    def choose_sample(self, stage: Stage, seed: int) -> tuple[str, int]:
        """Return folder name and random seed of the data that a training with `seed` reads."""
        return (f"{stage}_s{seed}", seed) if self.is_generated else (stage, 0)

    def list_samples(self, seeds: Iterable[int]) -> dict[str, tuple[str, int]]:
        """Return folder name -> (split, random seed) of all data; `seeds` are those of trainings."""
        drawn = {self.choose_sample(stage, seed): stage for seed in seeds for stage in STAGES}
        shared = {split: (split, 0) for split in self.shared_splits}
        return shared | {name: (stage, seed) for (name, seed), stage in drawn.items()}

    def count_images(self, split: str, questions: int = 0) -> int:
        """Return the images of a split; those of benchmarks are at most one for each question."""
        size = getattr(self.data, split, None)
        return questions if size is None else size.images

    def count_questions(self) -> dict[str, int]:
        """Return benchmark -> number of its questions.

        Raises UserError for a benchmark that is unknown, repeated or of another kind of study.
        """
        rows = choose_benchmarks(self.evaluation.benchmarks, generated=self.is_generated)
        return {name: self._count_questions_of(row) for name, row in rows.items()}
