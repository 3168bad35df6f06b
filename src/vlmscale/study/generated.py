"""Studies that generate their data and train their backbones from nothing."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from vlmscale.costs import shapes
from vlmscale.costs.shapes import Decoder
from vlmscale.errors import UserError
from vlmscale.settings import Counts, Recipe, Tower, Transformer, World
from vlmscale.study.checks import MADE
from vlmscale.study.parts import Data, Name
from vlmscale.study.schema import Study


class GeneratedStudy(Study):
    """A study with a `world`: it generates its data and trains its backbones from nothing."""

    world: World = Field(description="the generated world")
    data: Annotated[Data, MADE] = Field(description="samples of each split")
    tower: Annotated[Tower, MADE] = Field(description="the vision tower")
    llms: dict[Name, Annotated[Transformer, MADE]] = Field(
        min_length=1, description="name -> shape of a Qwen2 decoder and its pretraining"
    )

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
