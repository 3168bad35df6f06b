"""Studies that train on released data, from released backbones."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from vlmscale.costs import shapes
from vlmscale.costs.shapes import Decoder
from vlmscale.errors import UserError
from vlmscale.settings import Released, ReleasedTower
from vlmscale.study.checks import check_released
from vlmscale.study.parts import Datasets, Name
from vlmscale.study.schema import Stage, Study
from vlmscale.study.selection import SizeAxis


def _find_shape(backbone: Released, kind: type[shapes.Shape]) -> shapes.Shape:
    known = shapes.load_shapes()
    return shapes.find_shape(known, backbone.architecture, kind)


def _check_tower_shape(tower: ReleasedTower) -> ReleasedTower:
    _find_shape(tower, shapes.Tower)
    return tower


def _check_decoder(llm: Released) -> Released:
    _find_shape(llm, Decoder)
    return llm


class ReleasedStudy(Study):
    """A study without a `world`: it trains on released data, from released backbones."""

    data: Annotated[Datasets, BeforeValidator(check_released)] = Field(
        description="data set of each stage"
    )
    tower: Annotated[
        ReleasedTower, BeforeValidator(check_released), AfterValidator(_check_tower_shape)
    ] = Field(description="the vision tower")
    llms: dict[
        Name, Annotated[Released, BeforeValidator(check_released), AfterValidator(_check_decoder)]
    ] = Field(min_length=1, description="name -> a released LLM")
    pickled: tuple[str, ...] = Field(
        (),
        description="`tower` or LLMs whose pickled weights may be opened if they have no safetensors: "
        "once, in a process of its own that converts them; needs the disk space twice meanwhile",
    )

    rule_files: ClassVar[tuple[str, ...]] = ("released",)
    shared_splits: ClassVar[tuple[str, ...]] = ("test",)
    default_size: ClassVar[SizeAxis] = "nominal"

    @model_validator(mode="after")
    def _pickled_are_fetched(self) -> "ReleasedStudy":
        fetched = ["tower", *self.llms]
        for name in self.pickled:
            if name not in fetched:
                raise ValueError(f"pickled: {name!r} is not fetched: {', '.join(fetched)}")
        return self

    @cached_property
    def tower_shape(self) -> shapes.Tower:
        """The shape of the vision tower."""
        return _find_shape(self.tower, shapes.Tower)

    @cached_property
    def decoders(self) -> dict[str, Decoder]:
        """The shape of every LLM."""
        return {name: _find_shape(llm, Decoder) for name, llm in self.llms.items()}

    @property
    def nominal_sizes(self) -> dict[str, float]:
        """LLM -> billions of parameters according to its name."""
        return {name: decoder.nominal_b for name, decoder in self.decoders.items()}

    def choose_sample(self, stage: Stage, seed: int) -> tuple[str, int]:
        """Return folder name and random seed: all trainings read the same data."""
        return stage, 0

    def _count_questions_of(self, benchmark: str, row: Mapping[str, str]) -> int:
        if row["task"] == "world":
            raise UserError(
                f"evaluation.benchmarks: {benchmark!r} is of a study that needs a world. Choose rows of "
                "resources/benchmarks.csv whose task is not world."
            )
        return int(row["questions"])
