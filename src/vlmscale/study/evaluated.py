"""The third kind of study: of released VLMs, evaluated as they are at several budgets of visual tokens.

A cell is (model, budget). It has the columns of the cells of trained studies: `llm` is the model, `method`
its family, and the one law of a family is fitted on its cells alone. Families differ in data, towers and
stages, so no law ever holds two of them.
"""

from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vlmscale.costs import shapes
from vlmscale.costs.cluster import Cluster
from vlmscale.costs.image_tokens import IMAGE_TOKENS, VlmTower, find_vlm_tower
from vlmscale.costs.shapes import Decoder
from vlmscale.errors import UserError
from vlmscale.settings import Frozen, Seed, Size
from vlmscale.settings.vlms import ReleasedVlm
from vlmscale.study.grid import Cell
from vlmscale.study.parts import Distinct, Name
from vlmscale.study.questions import choose_benchmarks
from vlmscale.study.selection import FULL, Selection, SizeAxis


class ModelBlock(Frozen):
    """One block of the grid: the full product of these axes."""

    models: Annotated[tuple[str, ...], Distinct] = Field(
        min_length=1, description="names under `models`"
    )
    visual_tokens: Annotated[tuple[Size, ...], Distinct] = Field(
        min_length=1,
        description="budgets of visual tokens of an image; how many it takes is counted",
    )


class ModelEvaluation(Frozen):
    """Benchmarks that evaluate the models; lmms-eval's adapters answer one question at a time."""

    benchmarks: tuple[str, ...] = Field(
        min_length=1, description="rows of resources/benchmarks.csv"
    )
    protocol: Literal["lmms"] = Field(
        "lmms", description="how questions are put: as lmms-eval does"
    )


class ModelLaws(Frozen):
    """How the law of each family is fitted; N is that of the LLM without embedding and head."""

    holdout: Annotated[tuple[str, ...], Distinct] = Field(
        (), description="models that are predicted, never fitted"
    )
    text_tokens: Annotated[tuple[Annotated[int, Field(ge=0, le=1_000_000)], ...], Distinct] = Field(
        (0, 50), min_length=1, max_length=12, description="text tokens Q of a question"
    )
    bootstrap_draws: int = Field(
        2000, ge=1, le=100_000, description="resamples behind every interval"
    )
    seed: Seed = Field(0, description="random seed of the resampling")


class EvaluatedStudy(Frozen):
    """A study with `models`: it evaluates released VLMs and trains nothing."""

    study: Name = Field(description="name of the study and of its folder in results/")
    models: dict[Name, ReleasedVlm] = Field(min_length=1, description="name -> a released VLM")
    grid: tuple[ModelBlock, ...] = Field(
        min_length=1, description="the cells: union of the products of all blocks"
    )
    evaluation: ModelEvaluation = Field(description="benchmarks and their protocol")
    laws: ModelLaws = Field(ModelLaws(), description="how the laws are fitted")
    cluster: Cluster = Field(
        Cluster(), description="the machines that jobs request; changing it reruns nothing"
    )

    # What the rules ask of every kind of study.
    rule_files: ClassVar[tuple[str, ...]] = ("benchmarks", "models")
    is_generated: ClassVar[bool] = False
    latency: ClassVar[bool] = False
    methods_without_law: ClassVar[tuple[str, ...]] = ()
    size_axis: ClassVar[SizeAxis] = "non_embedding"

    @model_validator(mode="after")
    def _parts_agree(self) -> "EvaluatedStudy":
        for name in self.laws.holdout:
            if name not in self.models:
                raise ValueError(
                    f"laws.holdout: {name!r} is not under models. There are: {', '.join(self.models)}."
                )
        for i, block in enumerate(self.grid):
            for name in block.models:
                if name not in self.models:
                    raise ValueError(
                        f"grid.{i}.models: {name!r} is not under models. There are: "
                        f"{', '.join(self.models)}."
                    )
                tokens = IMAGE_TOKENS[self.models[name].family]
                for budget in block.visual_tokens:
                    if budget not in tokens.list_budgets():
                        raise ValueError(
                            f"grid.{i}.visual_tokens: {name} cannot be given a budget of {budget} visual "
                            f"tokens. Its family, {self.models[name].family}, has: "
                            f"{tokens.describe_budgets()}."
                        )
        for known in (self.decoders, self.towers, self.count_questions()):
            assert known  # each raises for a name that it does not know
        return self

    @cached_property
    def decoders(self) -> dict[str, Decoder]:
        """The shape of every model's LLM."""
        known = shapes.load_shapes()
        found = {}
        for name, model in self.models.items():
            try:
                found[name] = shapes.find_shape(known, model.llm, Decoder)
            except UserError as error:
                raise UserError(f"models.{name}.llm: {error}") from None
        return found

    @cached_property
    def towers(self) -> dict[str, VlmTower]:
        """The shape of every model's tower."""
        found = {}
        for name, model in self.models.items():
            try:
                found[name] = find_vlm_tower(model.tower)
            except UserError as error:
                raise UserError(f"models.{name}.tower: {error}") from None
        return found

    def count_questions(self) -> dict[str, int]:
        """Return benchmark -> number of its questions; errors as of choose_benchmarks."""
        rows = choose_benchmarks(self.evaluation.benchmarks, generated=False)
        return {name: int(row["questions"]) for name, row in rows.items()}

    def list_cells(self) -> dict[str, Cell]:
        """Return the cells by id. Raises UserError for one that is listed twice."""
        cells: dict[str, Cell] = {}
        for block in self.grid:
            for name in block.models:
                for budget in block.visual_tokens:
                    cell = f"{name}__v{budget}"
                    if cell in cells:
                        raise UserError(f"grid: cell {cell} is listed twice. Remove one.")
                    cells[cell] = Cell(
                        cell=cell,
                        run=name,
                        llm=name,
                        method=self.models[name].family,
                        visual_tokens=budget,
                        seed=0,
                        budget=FULL,
                        role="holdout" if name in self.laws.holdout else "fit",
                    )
        return cells

    def list_laws(self) -> dict[str, Selection]:
        """Return the law of each family whose cells can determine one: of two models and two budgets."""
        laws = {}
        fitted = [cell for cell in self.list_cells().values() if cell.role == "fit"]
        for family in dict.fromkeys(cell.method for cell in fitted):
            mine = [cell for cell in fitted if cell.method == family]
            models, budgets = {c.llm for c in mine}, {c.visual_tokens for c in mine}
            if len(models) > 1 and len(budgets) > 1 and len(mine) > 3:
                laws[family] = Selection((family,))
        return laws
