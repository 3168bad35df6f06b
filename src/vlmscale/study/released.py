"""Studies that train on released data, from released backbones."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from vlmscale.costs import shapes
from vlmscale.costs.shapes import Decoder
from vlmscale.settings import Released, ReleasedTower
from vlmscale.study.checks import RELEASED
from vlmscale.study.parts import Datasets, Name
from vlmscale.study.schema import Study


def _find_shape(backbone: Released, kind: type[shapes.Shape]) -> shapes.Shape:
    known = shapes.load_shapes()
    return shapes.find_shape(known, backbone.architecture, kind)


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
