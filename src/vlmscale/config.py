"""The config of a study: typed, frozen, unknown keys refused. config/README.md explains every key."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)

from vlmscale import architectures
from vlmscale.architectures import Decoder
from vlmscale.cluster import Cluster
from vlmscale.errors import UserError
from vlmscale.methods import Variant, method_names, variant
from vlmscale.resources import resource
from vlmscale.series import FULL, SizeAxis
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
    return _RELEASED if released else _MADE


_MADE, _RELEASED = "<made>", "<released>"  # no key of a config can be called so


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
        Annotated[Data, Tag(_MADE)] | Annotated[Datasets, Tag(_RELEASED)], Discriminator(_kind)
    ]
    tower: Annotated[
        Annotated[Tower, Tag(_MADE)] | Annotated[ReleasedTower, Tag(_RELEASED)],
        Discriminator(_kind),
    ]
    llms: dict[
        Name,
        Annotated[
            Annotated[Transformer, Tag(_MADE)] | Annotated[Released, Tag(_RELEASED)],
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

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        if self.study == "published":
            raise ValueError("study: results/published holds the paper's released numbers")
        self._check_budgets()
        self._check_origin()
        named = [(f"methods.{name}", name) for name in self.methods]
        for i, block in enumerate(self.grid):
            named += [(f"grid.{i}.methods", name) for name in block.methods]
            for llm in set(block.llms) - set(self.llms):
                raise ValueError(
                    f"grid.{i}.llms: {llm!r} is not under llms: {', '.join(self.llms)}"
                )
        for series, names in self.laws.series.items():
            named += [(f"laws.series.{series}", name) for name in names]
        for key, name in named:
            if name not in self.methods and name not in method_names():
                raise ValueError(
                    f"{key}: no method {name!r}. There are: {', '.join(method_names())}."
                )
            self._check_variant(key, name)
        for i, block in enumerate(self.grid):
            for name in block.methods:
                allowed = self.variant(name).method.supported(self.grid_side)
                for v in set(block.visual_tokens) - set(allowed):
                    raise ValueError(
                        f"grid.{i}.visual_tokens: {name} cannot give {v} visual tokens on a "
                        f"{self.grid_side} x {self.grid_side} grid. Choose from: {_ranges(allowed)}."
                    )
                for v in block.visual_tokens:
                    self._check_served(f"grid.{i}", name, v)
                if "llm_attention" in self.variant(name).method.needs:
                    for llm in block.llms:
                        if self.decoders[llm].layers < 2:
                            raise ValueError(
                                f"grid.{i}: {name} acts between layers of the LLM, but {llm} has one"
                            )
        used = {name for block in self.grid for name in block.methods}
        for series, names in self.laws.series.items():
            if not used & set(names):
                raise ValueError(
                    f"laws.series.{series}: no cell of the grid has one of its methods"
                )
            fitted = {
                llm
                for block in self.grid
                for llm in block.llms
                if set(block.methods) & set(names) and llm not in self.laws.holdout
            }
            if not fitted:
                raise ValueError(f"laws.series.{series}: all its LLMs are held out, none is fitted")
        named = [("laws.baseline", self.baseline)]
        for i, rule in enumerate(self.exclude):
            if rule.method is not None:
                named.append((f"exclude.{i}.method", rule.method))
        for key, name in named:
            if name not in used:
                raise ValueError(f"{key}: {name!r} is not in the grid: {', '.join(sorted(used))}")
        for i, rule in enumerate(self.exclude):
            if rule.llm is not None and rule.llm not in self.llms:
                raise ValueError(
                    f"exclude.{i}.llm: {rule.llm!r} is not under llms: {', '.join(self.llms)}"
                )
        for name in used:
            options = self.variant(name).options
            if self.stage2.turns == "apart" and options.get("count") == "adaptive":
                raise ValueError(
                    f"methods.{name}: count: adaptive hides tokens from all turns alike, which needs "
                    "stage2.turns: joined"
                )
        aspects = {self.stage1.aspect, *(self.stage2_at(b).aspect for b in (FULL, *self.budgets))}
        if self.vision_cache and "crop" in aspects:
            raise ValueError(
                "vision_cache: true keeps the features of padded images; "
                "aspect: crop needs vision_cache: false"
            )
        if "tower" in self.llms or "tokenizer" in self.llms:
            raise ValueError("llms: tower and tokenizer are taken as names of backbones")
        if self.tower_shape.hidden_size % 8:
            raise ValueError(
                f"tower.hidden_size {self.tower_shape.hidden_size} must be a multiple of 8, the "
                "compressors' attention heads"
            )
        if self.world and self.laws.size == "nominal":
            raise ValueError(
                "laws.size: nominal is the size in a released LLM's name; LLMs that a study makes have "
                "total and non_embedding"
            )
        for llm in set(self.laws.holdout) - set(self.llms):
            raise ValueError(f"laws.holdout: {llm!r} is not under llms: {', '.join(self.llms)}")
        return self

    def _check_origin(self) -> None:
        """A study makes its data and backbones, or it takes released ones."""
        released = {
            "data": isinstance(self.data, Datasets),
            "tower": isinstance(self.tower, Released),
        }
        released |= {f"llms.{name}": isinstance(llm, Released) for name, llm in self.llms.items()}
        for key, is_released in released.items():
            if is_released == (self.world is not None):
                has = "with a world" if self.world else "without a world"
                needs = "must be made" if self.world else "must be released"
                raise ValueError(
                    f"{key}: {needs}, in a study {has}. Data and backbones are all generated and trained "
                    "from a `world`, or all released; see config/README.md"
                )
        fetched = [] if self.world else ["tower", *self.llms]
        for name in set(self.pickled) - set(fetched):
            raise ValueError(
                f"pickled: {name!r} is not fetched: {', '.join(fetched) or 'nothing is'}"
            )
        try:
            shape, _ = self.tower_shape, self.decoders
        except UserError as error:
            raise ValueError(str(error)) from None
        if shape.image_size % shape.patch_size:
            raise ValueError(
                f"world.image_size {shape.image_size} is not a multiple of "
                f"tower.patch_size {shape.patch_size}"
            )
        for layer in self.tower.feature_layers:
            if layer > shape.layers:
                raise ValueError(
                    f"tower.feature_layers: {layer} must be between 0 and layers={shape.layers}"
                )

    def _check_budgets(self) -> None:
        if FULL in self.budgets:
            raise ValueError(f"budgets.{FULL}: this name is taken by stage2 as it stands")
        for name, changes in self.budgets.items():
            if "execution" in changes:
                raise ValueError(
                    f"budgets.{name}.execution: belongs to stage2, it is the same for all budgets"
                )
            try:
                same = self.stage2_at(name) == self.stage2
            except ValidationError as error:
                raise ValueError("\n  ".join(_complaints(error, f"budgets.{name}"))) from None
            if same:
                raise ValueError(f"budgets.{name}: changes nothing of stage2")
        named = [
            (f"grid.{i}.budgets", b) for i, block in enumerate(self.grid) for b in block.budgets
        ]
        named += [
            (f"exclude.{i}.budget", r.budget)
            for i, r in enumerate(self.exclude)
            if r.budget is not None
        ]
        for key, name in named:
            if name != FULL and name not in self.budgets:
                known = ", ".join([FULL, *self.budgets])
                raise ValueError(f"{key}: no budget {name!r} is defined. There are: {known}.")

    def _check_variant(self, key: str, name: str) -> None:
        try:
            found = self.variant(name)
        except UserError as error:
            words = str(error)  # names the option by its key, if it is about one
            raise ValueError(words if words.startswith(key) else f"{key}: {words}") from None
        if "tower_attention" in found.method.needs:
            before_last = self.tower_shape.layers - 1
            if before_last not in self.tower.feature_layers:
                raise ValueError(
                    f"{key}: {name} reads the tower's last block, so tower.feature_layers must have "
                    f"{before_last}, the layer before it"
                )

    def _check_served(self, key: str, name: str, visual_tokens: int) -> None:
        """The run that serves a cell must be possible, and made with the options that they share."""
        found = self.variant(name)
        server, tokens = found.trained_as(visual_tokens, self.grid_side)
        if server == name:
            return
        self._check_variant(f"{key} (served by {server})", server)
        serving = self.variant(server)
        if serving.method.name != server:
            raise ValueError(
                f"{key}: {name} is served by the method {server}, but methods.{server} makes that "
                f"{serving.method.name}. Give the latter another name."
            )
        if tokens not in serving.method.supported(self.grid_side):
            raise ValueError(
                f"{key}: {name} is served by {server} at {tokens} visual tokens, which a "
                f"{self.grid_side} x {self.grid_side} grid does not allow"
            )
        for option, value in found.options.items():
            if option != "training" and serving.options.get(option, value) != value:
                raise ValueError(
                    f"{key}: {name} has {option}: {value}, but {server}, which it is served by, is trained "
                    f"with {option}: {serving.options[option]}. Choose the same for both."
                )


def _known_shape(backbone: Released, kind: type[architectures.Shape]) -> architectures.Shape:
    shapes = architectures.load_architectures(resource("architectures.csv"))
    return architectures.find(shapes, backbone.architecture, kind)


def _ranges(counts: Sequence[int]) -> str:
    """Token counts for people: 1 to 36 instead of all of them."""
    if len(counts) > 2 and len({b - a for a, b in pairwise(counts)}) == 1:
        step = counts[1] - counts[0]
        every = "" if step == 1 else f" in steps of {step}"
        return f"{counts[0]} to {counts[-1]}{every}"
    return ", ".join(map(str, counts))


def validate(raw: dict[str, Any], source: str) -> Study:
    """The study described by `raw`. Raises UserError naming the file `source`, key, value and cure."""
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        lines = "\n  ".join(_complaints(error))
        raise UserError(f"{source} is not a valid study:\n  {lines}") from None


def _complaints(error: ValidationError, *within: str) -> list[str]:
    """A line for each thing that is wrong, with its key; `within` are the keys above it."""
    lines = []
    places = [e["loc"] for e in error.errors()]
    for e in error.errors():
        if any(place != e["loc"] and place[: len(e["loc"])] == e["loc"] != () for place in places):
            continue  # follows from an error further down, which is listed
        named = [part for part in e["loc"] if part not in (_MADE, _RELEASED)]
        key = ".".join(map(str, [*within, *named]))
        if e["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key. Remove it, or see config/README.md for the keys.")
            continue
        message = e["msg"].removeprefix("Value error, ")
        value = "" if isinstance(e["input"], dict) else f" (got {e['input']!r})"
        lines.append(f"{key}: {message}{value}" if key else message)
    return lines


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
