"""The two kinds of studies: of generated and of released data and backbones."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from vlmscale.costs import shapes
from vlmscale.costs.shapes import Decoder
from vlmscale.errors import UserError
from vlmscale.settings import Counts, Recipe, Released, ReleasedTower, Tower, Transformer, World
from vlmscale.study.checks import MADE, RELEASED, check_consistent
from vlmscale.study.parts import Data, Datasets, Name
from vlmscale.study.schema import Study


def _check_parts(study: Study) -> Study:
    check_consistent(study)
    return study


class GeneratedStudy(Study):
    """A study with a `world`: it generates its data and trains its backbones from nothing."""

    world: World = Field(description="the generated world")
    data: Annotated[Data, MADE] = Field(description="samples of each split")
    tower: Annotated[Tower, MADE] = Field(description="the vision tower")
    llms: dict[Name, Annotated[Transformer, MADE]] = Field(
        min_length=1, description="name -> shape of a Qwen2 decoder and its pretraining"
    )

    _parts_agree = model_validator(mode="after")(_check_parts)
    rule_files: ClassVar[tuple[str, ...]] = ("data", "backbones")
    is_generated: ClassVar[bool] = True
    shared_splits: ClassVar[tuple[str, ...]] = ("corpus", "tower", "test")

    @cached_property
    def tower_shape(self) -> shapes.Tower:
        size, patch = self.world.image_size, self.tower.patch_size
        if size % patch:
            raise UserError(f"tower.patch_size {patch} must divide world.image_size {size}")
        widths = self.tower.model_dump(include={"layers", "hidden_size", "intermediate_size"})
        return shapes.Tower(**widths, gated_mlp=False, image_size=size, patch_size=patch)

    @cached_property
    def decoders(self) -> dict[str, Decoder]:
        return {
            name: Decoder(
                **llm.model_dump(exclude={"recipe"}),
                nominal_b=0.0,
                key_value_heads=llm.heads,
                vocabulary=0,
                tied_head=True,
                gated_mlp=True,
                qkv_bias=True,
            )
            for name, llm in self.llms.items()
        }

    @property
    def pretrainings(self) -> dict[str, tuple[Recipe, Counts]]:
        llms = {name: (llm.recipe, self.data.corpus) for name, llm in self.llms.items()}
        return {"tower": (self.tower.recipe, self.data.tower), **llms}

    def _count_questions_of(self, row: Mapping[str, str]) -> int:
        return self.data.test.scenes if row["family"] == "reasoning" else self.data.test.pages


def _find_shape(backbone: Released, kind: type[shapes.Shape]) -> shapes.Shape:
    return shapes.find_shape(shapes.load_shapes(), backbone.architecture, kind)


def _require_shape(kind: type[shapes.Shape]) -> AfterValidator:
    def check(backbone: Released) -> Released:
        _find_shape(backbone, kind)
        return backbone

    return AfterValidator(check)


class ReleasedStudy(Study):
    """A study without a `world`: it trains on released data, from released backbones."""

    data: Annotated[Datasets, RELEASED] = Field(description="data set of each stage")
    tower: Annotated[ReleasedTower, RELEASED, _require_shape(shapes.Tower)] = Field(
        description="the vision tower"
    )
    llms: dict[Name, Annotated[Released, RELEASED, _require_shape(Decoder)]] = Field(
        min_length=1, description="name -> a released LLM"
    )
    pickled: tuple[str, ...] = Field(
        (),
        description="`tower` or LLMs whose pickled weights may be opened if they have no safetensors: "
        "once, in a process of its own that converts them; needs the disk space twice meanwhile",
    )

    _parts_agree = model_validator(mode="after")(_check_parts)
    rule_files: ClassVar[tuple[str, ...]] = ("released",)
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
        return _find_shape(self.tower, shapes.Tower)

    @cached_property
    def decoders(self) -> dict[str, Decoder]:
        return {name: _find_shape(llm, Decoder) for name, llm in self.llms.items()}

    def _count_questions_of(self, row: Mapping[str, str]) -> int:
        return int(row["questions"])
