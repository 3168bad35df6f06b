"""A study as its config says it: typed, frozen, unknown keys refused. config/README.md explains every key.

`config.py` reads one; what its parts must not contradict is in `consistency.py`.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    Tag,
    model_validator,
)

from vlmscale.costs import shapes as architectures
from vlmscale.costs.cluster import Cluster
from vlmscale.costs.shapes import Decoder
from vlmscale.methods import Variant, variant
from vlmscale.resources import resource
from vlmscale.settings import (
    Counts,
    Dataset,
    Frozen,
    Released,
    ReleasedTower,
    StageRecipe,
    Tower,
    Transformer,
    World,
)
from vlmscale.study.selection import FULL, SizeAxis

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


class Datasets(Frozen):
    """What a study without a world is trained on; its questions are those of its benchmarks."""

    stage1: Dataset
    stage2: Dataset


def _kind(value: Any) -> str:
    """Which of two ways of giving backbones or data is meant, so that errors are about that one."""
    if isinstance(value, Mapping):
        named = [value, *(part for part in value.values() if isinstance(part, Mapping))]
        released = any(
            {"repository", "revision", "architecture", "dataset"} & set(v) for v in named
        )
    else:
        released = isinstance(value, Released | Datasets)
    return RELEASED if released else MADE


MADE, RELEASED = "<made>", "<released>"  # no key of a config can be called so


class Block(Frozen):
    """A full product of these axes; the grid is the union of its blocks."""

    methods: tuple[str, ...] = Field(min_length=1)
    llms: tuple[str, ...] = Field(min_length=1)
    visual_tokens: tuple[PositiveInt, ...] = Field(min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)
    budgets: tuple[str, ...] = Field((FULL,), min_length=1)


class Exclude(Frozen):
    """Cells to leave out: those that match every axis named here."""

    method: str | None = None
    llm: str | None = None
    visual_tokens: int | None = None
    seed: int | None = None
    budget: str | None = None


class Evaluation(Frozen):
    benchmarks: tuple[str, ...] = Field(
        min_length=1, description="rows of resources/benchmarks.csv"
    )
    protocol: Literal["lmms", "llava15"] = Field(
        "lmms", description="how real benchmarks are asked; generated questions know one way"
    )
    batch_size: PositiveInt = 32


class Laws(Frozen):
    """Which cells are fitted together, and how."""

    series: dict[Name, tuple[str, ...]] = Field(
        {},
        description="name of a law -> methods whose cells it is fitted on, once for each budget; none in "
        "a study that compares methods on one LLM",
    )
    holdout: tuple[str, ...] = Field((), description="LLMs that are predicted, never fitted")
    text_tokens: tuple[NonNegativeInt, ...] = Field(
        (0, 50), description="text tokens Q per question on the cost axes of Figure 1"
    )
    baseline: Name | None = Field(
        None,
        description="method that the others are compared with, question by question; by default the "
        "first of the grid",
    )
    size: SizeAxis | None = Field(
        None,
        description="what N counts: the size in the LLM's name, all its parameters, or those without "
        "embeddings and head; by default nominal for released LLMs, total for those a study makes",
    )
    bootstrap_draws: PositiveInt = Field(2000, description="resamples behind every interval")
    seed: NonNegativeInt = Field(0, description="of the resampling")


class Study(Frozen):
    """One study: everything that decides its results."""

    study: Name = Field(description="names its folder in results/")
    world: World | None = Field(
        None, description="what is generated; without it, data and backbones are released ones"
    )
    data: Annotated[
        Annotated[Data, Tag(MADE)] | Annotated[Datasets, Tag(RELEASED)], Discriminator(_kind)
    ]
    tower: Annotated[
        Annotated[Tower, Tag(MADE)] | Annotated[ReleasedTower, Tag(RELEASED)],
        Discriminator(_kind),
    ]
    llms: dict[
        Name,
        Annotated[
            Annotated[Transformer, Tag(MADE)] | Annotated[Released, Tag(RELEASED)],
            Discriminator(_kind),
        ],
    ] = Field(min_length=1)
    pickled: tuple[str, ...] = Field(
        (),
        description="released backbones, `tower` or LLMs, whose pickled weights may be opened where they "
        "have no others: once, in a process of its own, to be kept as safetensors",
    )
    template: Literal["qa", "qwen", "qwen_next", "vicuna_v1"] = Field(
        "qa", description="conversation format of the LLMs, and which of its tokens are learned"
    )
    grid: tuple[Block, ...] = Field(min_length=1)
    exclude: tuple[Exclude, ...] = ()
    methods: dict[Name, dict[str, str]] = Field(
        {}, description="options by method, or by a name of your own with `method` among them"
    )
    stage1: StageRecipe
    stage2: StageRecipe
    budgets: dict[Name, dict[str, Any]] = Field(
        {}, description="name of a training budget -> what it changes of stage2"
    )
    vision_cache: bool = Field(description="compute the tower's features once for all cells")
    evaluation: Evaluation
    latency: bool = Field(
        False,
        description="time every cell's answer on the machine that the study runs on: "
        "latency.parquet and a figure",
    )
    laws: Laws
    cluster: Cluster = Field(
        Cluster(), description="machines that jobs ask for; changing it reruns nothing"
    )

    @property
    def grid_side(self) -> int:
        """Patches along one side of an image."""
        return self.tower_shape.grid_side

    @cached_property
    def tower_shape(self) -> architectures.Tower:
        """The shape of the vision tower. Raises UserError when a released one is not known."""
        if isinstance(self.tower, Released):
            return _known_shape(self.tower, architectures.Tower)
        assert self.world is not None  # or the tower could not be made
        return architectures.Tower(
            layers=self.tower.layers,
            hidden_size=self.tower.hidden_size,
            intermediate_size=self.tower.intermediate_size,
            gated_mlp=False,
            image_size=self.world.image_size,
            patch_size=self.tower.patch_size,
        )

    @cached_property
    def decoders(self) -> dict[str, Decoder]:
        """The shape of every LLM. Raises UserError when a released one is not known.

        The vocabulary of an LLM that the study makes is 0: it is not known before its tokenizer is.
        """
        return {
            name: (
                _known_shape(llm, Decoder)
                if isinstance(llm, Released)
                else Decoder(
                    nominal_b=0.0,
                    layers=llm.layers,
                    hidden_size=llm.hidden_size,
                    intermediate_size=llm.intermediate_size,
                    heads=llm.heads,
                    key_value_heads=llm.heads,
                    vocabulary=0,
                    tied_head=True,
                    gated_mlp=True,
                    qkv_bias=True,
                )
            )
            for name, llm in self.llms.items()
        }

    def variant(self, name: str) -> Variant:
        """The method that this study calls `name`, with its options."""
        return variant(name, self.methods)

    @property
    def baseline(self) -> str:
        """The method that the others are compared with."""
        return self.laws.baseline or self.grid[0].methods[0]

    @property
    def size_axis(self) -> SizeAxis:
        """What the N of the laws counts."""
        return self.laws.size or ("total" if self.world else "nominal")

    @property
    def nominal_sizes(self) -> dict[str, float]:
        """Billions of parameters in the name of each LLM; a name given by the study says nothing."""
        if self.world:
            return {}
        return {name: decoder.nominal_b for name, decoder in self.decoders.items()}

    def stage2_at(self, budget: str) -> StageRecipe:
        """The recipe of stage 2 with a training budget; `steps` replaces `epochs`, and the reverse."""
        changes = self.budgets[budget] if budget != FULL else {}
        lengths = {"epochs", "steps"}
        replaced = lengths if lengths & set(changes) else set()
        return StageRecipe.model_validate({**self.stage2.model_dump(exclude=replaced), **changes})


def _known_shape(backbone: Released, kind: type[architectures.Shape]) -> architectures.Shape:
    shapes = architectures.load_architectures(resource("architectures.csv"))
    return architectures.find(shapes, backbone.architecture, kind)
