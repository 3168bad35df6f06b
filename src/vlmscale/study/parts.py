"""The parts of a study's config that no library function takes: data, grid, evaluation and laws."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from vlmscale.settings import Counts, Dataset, Frozen, Seed, Size
from vlmscale.study.selection import FULL, SizeAxis

_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
}


def _check_name(name: str) -> str:
    if "__" in name:
        raise ValueError(
            "must not have two underscores in a row, which separate the names in an id"
        )
    if name.partition(".")[0].lower() in _RESERVED or name.endswith((".", ".json", ".md", ".html")):
        raise ValueError(
            "no file system or another file of the results allows this name; choose another"
        )
    return name


def _check_distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value} stands twice; remove one")
    return values


Distinct = AfterValidator(_check_distinct)
# Names that become parts of paths.
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=50),
    AfterValidator(_check_name),
]


class Data(Frozen):
    """How many samples of the world each split has."""

    corpus: Counts = Field(description="text the LLMs are pretrained on")
    tower: Counts = Field(description="images the vision tower is pretrained on")
    stage1: Counts = Field(description="captioned images")
    stage2: Counts = Field(description="images with conversations, and text against forgetting")
    test: Counts = Field(description="images with one question of each benchmark of their family")

    @model_validator(mode="after")
    def _each_split_has_its_kinds(self) -> "Data":
        for split in type(self).model_fields:
            given = {kind for kind, number in getattr(self, split) if number}
            needed = {"text"} if split == "corpus" else {"scenes", "pages"}
            allowed = needed | {"text"} if split == "stage2" else needed
            if not given & needed or given - allowed:
                raise ValueError(
                    f"{split}: needs some of {', '.join(sorted(needed))}, and nothing but "
                    f"{', '.join(sorted(allowed))}"
                )
        return self


class Datasets(Frozen):
    """The released data that a study trains on; its benchmarks bring the questions."""

    stage1: Dataset = Field(description="captioned images")
    stage2: Dataset = Field(description="images with conversations, and text")


class Block(Frozen):
    """One block of the grid: the full product of these axes."""

    methods: tuple[str, ...] = Field(
        min_length=1, description="methods, or names given to them under `methods`"
    )
    llms: tuple[str, ...] = Field(min_length=1, description="names under `llms`")
    visual_tokens: tuple[Size, ...] = Field(
        min_length=1, description="visual tokens V of an image in the LLM"
    )
    seeds: tuple[Seed, ...] = Field(min_length=1, description="random seeds of the trainings")
    budgets: tuple[str, ...] = Field(
        (FULL,),
        min_length=1,
        description="training budgets: names under `budgets`, or `full`, which is stage2 unchanged",
    )


class Exclude(Frozen):
    """Cells to leave out: all that match every axis given here."""

    method: str | None = Field(None, description="method of the cells")
    llm: str | None = Field(None, description="LLM of the cells")
    visual_tokens: int | None = Field(None, description="visual tokens V of the cells")
    seed: int | None = Field(None, description="random seed of the cells")
    budget: str | None = Field(None, description="training budget of the cells")


class Evaluation(Frozen):
    """Benchmarks that evaluate the trained models, and how."""

    benchmarks: tuple[str, ...] = Field(
        min_length=1, description="rows of resources/benchmarks.csv"
    )
    protocol: Literal["lmms", "llava15"] = Field(
        "lmms", description="how questions of real benchmarks are put; generated ones have one way"
    )
    batch_size: Size = Field(32, description="questions answered at once")


class Laws(Frozen):
    """Which cells are fitted together, and how."""

    series: dict[Name, Annotated[tuple[str, ...], Distinct]] = Field(
        {},
        description="name of a law -> methods whose cells it is fitted on, once for each budget with "
        "enough cells (as `name_budget`, but `name` at budget full); none in a study that compares "
        "methods on one LLM",
    )
    holdout: Annotated[tuple[str, ...], Distinct] = Field(
        (), description="LLMs that are predicted, never fitted"
    )
    text_tokens: Annotated[tuple[Annotated[int, Field(ge=0, le=1_000_000)], ...], Distinct] = Field(
        (0, 50),
        min_length=1,
        max_length=12,
        description="text tokens Q of a question; Figure 1 has one panel for each",
    )
    baseline: Name | None = Field(
        None,
        description="method that the others are compared with, question by question; by default the "
        "first of the grid",
    )
    size: SizeAxis | None = Field(
        None,
        description="what N counts: nominal is the size in a released LLM's name (its default), total "
        "all parameters (default of generated studies), non_embedding those without embeddings and head",
    )
    bootstrap_draws: int = Field(
        2000, ge=1, le=100_000, description="resamples behind every interval"
    )
    seed: Seed = Field(0, description="random seed of the resampling")
