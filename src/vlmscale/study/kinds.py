"""The two kinds of studies: of generated and of released data and backbones."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from vlmscale.costs import shapes
from vlmscale.costs.shapes import Decoder
from vlmscale.errors import UserError
from vlmscale.settings import Counts, Recipe, Released, ReleasedTower, Tower, Transformer, World
from vlmscale.study.checks import MADE, RELEASED, check_consistent
from vlmscale.study.parts import Data, Datasets, Name
from vlmscale.study.schema import Study

TRAINING_RULES = ("vision", "train", "evaluate", "latency")
_FEWEST = 5  # expected questions of a benchmark; of fewer there may by chance be none


class GeneratedStudy(Study):
    """A study with a `world`: it generates its data and trains its backbones from nothing."""

    world: World = Field(description="the generated world")
    data: Annotated[Data, MADE] = Field(description="samples of each split")
    tower: Annotated[Tower, MADE] = Field(description="the vision tower")
    llms: dict[Name, Annotated[Transformer, MADE]] = Field(
        min_length=1, description="name -> shape of a Qwen2 decoder and its pretraining"
    )

    _parts_agree = model_validator(mode="after")(check_consistent)
    rule_files: ClassVar[tuple[str, ...]] = ("data", "backbones", *TRAINING_RULES)
    is_generated: ClassVar[bool] = True
    shared_splits: ClassVar[tuple[str, ...]] = ("corpus", "tower", "test")

    @cached_property
    def tower_shape(self) -> shapes.Tower:
        size, patch = self.world.image_size, self.tower.patch_size
        if size % patch:
            raise UserError(f"tower.patch_size {patch} must divide world.image_size {size}")
        widths = self.tower.model_dump(
            include={"layers", "hidden_size", "intermediate_size", "heads"}
        )
        layers = len(self.tower.feature_layers)
        return shapes.Tower(**widths, image_size=size, patch_size=patch, feature_layers=layers)

    @property
    def tower_name(self) -> str:
        return f"of {self.study}"

    @cached_property
    def decoders(self) -> dict[str, Decoder]:
        return {
            name: Decoder(
                **llm.model_dump(exclude={"recipe"}),
                nominal_b=0.0,
                key_value_heads=llm.heads,
                vocabulary=0,
                tied_head=True,
                qkv_bias=True,
            )
            for name, llm in self.llms.items()
        }

    @property
    def pretrainings(self) -> dict[str, tuple[Recipe, Counts]]:
        llms = {name: (llm.recipe, self.data.corpus) for name, llm in self.llms.items()}
        return {"tower": (self.tower.recipe, self.data.tower), **llms}

    @model_validator(mode="after")
    def _positions_rotate(self) -> "GeneratedStudy":
        for name, llm in self.llms.items():
            size = llm.hidden_size // llm.heads
            if size % 2:
                raise ValueError(
                    f"llms.{name}: hidden_size / heads is {size}, must be even for rotary positions"
                )
        return self

    def _count_questions_of(self, row: Mapping[str, str]) -> int:
        name, kind = row["benchmark"], "scenes" if row["family"] == "reasoning" else "pages"
        if not (questions := getattr(self.data.test, kind)):
            raise UserError(f"evaluation.benchmarks: {name} asks about {kind}; data.test has none")
        if name not in self.world.families:
            raise UserError(
                f"evaluation.benchmarks: {name} is not among world.families, so nothing asks it"
            )
        pairs = questions * self.world.share_of_scenes_with_two_objects
        if name == "rel" and pairs < _FEWEST:
            raise UserError(
                f"evaluation.benchmarks: rel needs scenes of two objects, of which data.test has about "
                f"{pairs:.2g}; raise world.objects, world.difficulty or data.test.scenes"
            )
        if name == "fact" and self._count_held_out_facts() < 1:
            raise UserError(
                "evaluation.benchmarks: fact needs facts that stage 2 holds out; raise world.relations "
                "or world.held_out_facts"
            )
        return int(questions)

    def _count_held_out_facts(self) -> float:
        """Return the expected number; those of the first relation are never held out."""
        world = self.world
        facts = world.colours * world.shapes * (world.relations - 1)
        return facts * world.held_out_facts


class ReleasedStudy(Study):
    """A study without a `world`: it trains on released data, from released backbones."""

    data: Annotated[Datasets, RELEASED] = Field(description="data set of each stage")
    tower: Annotated[ReleasedTower, RELEASED] = Field(description="the vision tower")
    llms: dict[Name, Annotated[Released, RELEASED]] = Field(
        min_length=1, description="name -> a released LLM"
    )
    pickled: tuple[str, ...] = Field(
        (),
        description="`tower` or LLMs whose pickled weights may be opened if they have no safetensors: "
        "once, in a process of its own that converts them; needs the disk space twice meanwhile",
    )

    _parts_agree = model_validator(mode="after")(check_consistent)
    rule_files: ClassVar[tuple[str, ...]] = ("benchmarks", "released", *TRAINING_RULES)
    is_generated: ClassVar[bool] = False
    shared_splits: ClassVar[tuple[str, ...]] = ("test",)

    @model_validator(mode="after")
    def _pickled_are_fetched(self) -> "ReleasedStudy":
        fetched = ["tower", *self.llms]
        for name in self.pickled:
            if name not in fetched:
                raise ValueError(f"pickled: {name!r} is not fetched: {', '.join(fetched)}")
        return self

    @cached_property
    def tower_shape(self) -> shapes.Tower:
        shape = _find_shape("tower", self.tower, shapes.Tower)
        size = self.tower.image_size or shape.image_size
        return replace(shape, feature_layers=len(self.tower.feature_layers), image_size=size)

    @property
    def chosen_image_size(self) -> int | None:
        return self.tower.image_size

    @property
    def tower_name(self) -> str:
        return self.tower.architecture

    @cached_property
    def decoders(self) -> dict[str, Decoder]:
        return {name: _find_shape(f"llms.{name}", llm, Decoder) for name, llm in self.llms.items()}

    def _count_questions_of(self, row: Mapping[str, str]) -> int:
        return int(row["questions"])


def _find_shape(key: str, backbone: Released, kind: type[shapes.Shape]) -> shapes.Shape:
    try:
        return shapes.find_shape(shapes.load_shapes(), backbone.architecture, kind)
    except UserError as error:
        raise UserError(f"{key}.architecture: {error}") from None
