"""The config of a study: typed, frozen, unknown keys refused. config/README.md explains every key."""

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from vlmscale.errors import UserError
from vlmscale.methods import method, method_names
from vlmscale.settings import Counts, Frozen, Recipe, Tower, Transformer, World

# Names that become parts of paths.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Data(Frozen):
    """The splits of a study."""

    corpus: Counts = Field(description="text the LLMs are pretrained on")
    tower: Counts = Field(description="images the vision tower is pretrained on")
    stage1: Counts = Field(description="captioned images")
    stage2: Counts = Field(description="images with conversations, and text against forgetting")
    test: Counts = Field(description="images asked one question of each family")

    @model_validator(mode="after")
    def _each_split_has_its_kind(self) -> "Data":
        images = {"scenes", "pages"}
        kinds = {"tower": images, "stage1": images, "test": images, "corpus": {"text"}}
        for split in type(self).model_fields:
            given = {kind for kind, number in getattr(self, split) if number}
            allowed = kinds.get(split, images | {"text"})
            if not given or given - allowed:
                raise ValueError(
                    f"{split}: needs some of {', '.join(sorted(allowed))}, and no other"
                )
        return self


class Block(Frozen):
    """A full product of these axes; the grid is the union of its blocks."""

    methods: tuple[str, ...] = Field(min_length=1)
    llms: tuple[str, ...] = Field(min_length=1)
    visual_tokens: tuple[PositiveInt, ...] = Field(min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)


class Exclude(Frozen):
    """Cells to leave out: those that match every axis named here."""

    method: str | None = None
    llm: str | None = None
    visual_tokens: int | None = None
    seed: int | None = None


class Evaluation(Frozen):
    benchmarks: tuple[str, ...] = Field(
        min_length=1, description="rows of resources/benchmarks.csv"
    )
    batch_size: PositiveInt = 32


class Laws(Frozen):
    """Which cells are fitted together, and how."""

    series: dict[Name, tuple[str, ...]] = Field(
        min_length=1, description="name of a law -> methods whose cells it is fitted on"
    )
    holdout: tuple[str, ...] = Field((), description="LLMs that are predicted, never fitted")
    text_tokens: tuple[NonNegativeInt, ...] = Field(
        (0, 50), description="text tokens Q per question on the cost axes of Figure 1"
    )
    bootstrap_draws: PositiveInt = Field(2000, description="resamples behind every interval")
    seed: NonNegativeInt = Field(0, description="of the resampling")


class Study(Frozen):
    """One study: everything that decides its results."""

    study: Name = Field(description="names its folder in results/")
    world: World
    data: Data
    tower: Tower
    llms: dict[Name, Transformer] = Field(min_length=1)
    template: Literal["qa", "chatml"] = Field("qa", description="conversation format of the LLMs")
    grid: tuple[Block, ...] = Field(min_length=1)
    exclude: tuple[Exclude, ...] = ()
    methods: dict[str, dict[str, str]] = Field({}, description="options of methods, by method")
    stage1: Recipe
    stage2: Recipe
    vision_cache: bool = Field(description="compute the tower's features once for all cells")
    evaluation: Evaluation
    laws: Laws

    @property
    def grid_side(self) -> int:
        """Patches along one side of an image."""
        return self.world.image_size // self.tower.patch_size

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        if self.world.image_size % self.tower.patch_size:
            raise ValueError(
                f"world.image_size {self.world.image_size} is not a multiple of "
                f"tower.patch_size {self.tower.patch_size}"
            )
        named = [(f"methods.{name}", name) for name in self.methods]
        for i, block in enumerate(self.grid):
            named += [(f"grid.{i}.methods", name) for name in block.methods]
            for llm in set(block.llms) - set(self.llms):
                raise ValueError(
                    f"grid.{i}.llms: {llm!r} is not under llms: {', '.join(self.llms)}"
                )
            for name in set(block.methods) & set(method_names()):
                allowed = method(name).supported(self.grid_side)
                for v in set(block.visual_tokens) - set(allowed):
                    raise ValueError(
                        f"grid.{i}.visual_tokens: {name} cannot give {v} visual tokens on a "
                        f"{self.grid_side} x {self.grid_side} grid. Choose from: "
                        f"{', '.join(map(str, allowed))}."
                    )
        for series, names in self.laws.series.items():
            named += [(f"laws.series.{series}", name) for name in names]
        for key, name in named:
            if name not in method_names():
                raise ValueError(
                    f"{key}: no method {name!r}. There are: {', '.join(method_names())}."
                )
        for name, options in self.methods.items():
            try:
                method(name).complete_options(options)
            except UserError as error:
                raise ValueError(str(error)) from None
        used = {name for block in self.grid for name in block.methods}
        for series, names in self.laws.series.items():
            if not used & set(names):
                raise ValueError(
                    f"laws.series.{series}: no cell of the grid has one of its methods"
                )
        if "tower" in self.llms or "tokenizer" in self.llms:
            raise ValueError("llms: tower and tokenizer are taken as names of backbones")
        if self.tower.hidden_size % 8:
            raise ValueError(
                f"tower.hidden_size {self.tower.hidden_size} must be a multiple of 8, the "
                "compressors' attention heads"
            )
        for llm in set(self.laws.holdout) - set(self.llms):
            raise ValueError(f"laws.holdout: {llm!r} is not under llms: {', '.join(self.llms)}")
        return self


def validate(raw: dict[str, Any], source: str) -> Study:
    """The study described by `raw`. Raises UserError naming the file `source`, key, value and cure."""
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        lines = []
        places = [e["loc"] for e in error.errors()]
        for e in error.errors():
            if any(
                place != e["loc"] and place[: len(e["loc"])] == e["loc"] != () for place in places
            ):
                continue  # follows from an error further down, which is listed
            key = ".".join(map(str, e["loc"]))
            if e["type"] == "extra_forbidden":
                lines.append(
                    f"{key}: unknown key. Remove it, or see config/README.md for the keys."
                )
                continue
            message = e["msg"].removeprefix("Value error, ")
            value = "" if isinstance(e["input"], dict) else f" (got {e['input']!r})"
            lines.append(f"{key}: {message}{value}" if key else message)
        raise UserError(f"{source} is not a valid study:\n  " + "\n  ".join(lines)) from None


def check_benchmarks(study: Study, known: Collection[str], table: str) -> None:
    """Raise UserError unless every benchmark of the study is `known`, a row of the file `table`."""
    asked = study.evaluation.benchmarks
    for name in asked:
        if name not in known or asked.count(name) > 1:
            what = "is listed twice" if name in known else f"is not in {table}"
            raise UserError(
                f"evaluation.benchmarks: {name!r} {what}. There are: {', '.join(known)}."
            )


def load_study(path: Path) -> Study:
    """Read and validate a study's YAML file. Raises UserError when it is not one."""
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not a valid study: expected keys and values at the top level")
    return validate(raw, str(path))


def schema() -> str:
    """The JSON schema of a study, as it stands in config/schema.json."""
    return json.dumps(Study.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema())
