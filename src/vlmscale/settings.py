"""Settings that library functions take: pieces of a study's config, each the argument of something.

They stand apart from study.py, so that a new key of the config does not touch the code of old results.
"""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)

# Where a conversation shows its image, in the LLaVA format and in every tokenizer's vocabulary.
IMAGE_TOKEN = "<image>"
# What becomes of an image that is not square: see models/pixels.py.
Aspect = Literal["pad", "crop"]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Setting(Frozen):
    """What a projector is built from. Specs and saved models store it under these three keys."""

    method: str
    visual_tokens: int
    options: dict[str, str]

    def __str__(self) -> str:
        options = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"{self.method} at {self.visual_tokens} visual tokens" + (
            options and f" ({options})"
        )


class World(Frozen):
    """The generated world: what exists in it. How much of it is drawn stands under `data`."""

    seed: NonNegativeInt = 0
    difficulty: float = Field(
        0.5,
        ge=0,
        le=1,
        description="the dial of the generator: 0 gives the fewest objects and letters and the "
        "easiest questions, 1 the most and the hardest, 0.5 all alike",
    )
    image_size: PositiveInt = Field(48, description="side of the square images, pixels")
    colours: int = Field(8, ge=2, le=8)
    shapes: int = Field(8, ge=2, le=8)
    objects: int = Field(3, ge=1, le=4, description="most objects in a scene")
    relations: PositiveInt = Field(8, description="relations a (colour, shape) pair has facts in")
    values: int = Field(16, ge=2, le=64, description="possible values of a fact: 0 to values - 1")
    held_out_facts: float = Field(
        0.2, gt=0, lt=1, description="share of facts told in the corpus and never asked in stage 2"
    )
    alphabet: int = Field(12, ge=3, le=26, description="letters that occur on pages")
    lines: int = Field(2, ge=1, le=4, description="most lines of a page")
    columns: int = Field(2, ge=2, le=4, description="most letters in a line")

    @model_validator(mode="after")
    def _a_colour_is_left(self) -> "World":
        if self.objects >= self.colours:
            raise ValueError(
                f"objects {self.objects} must be fewer than colours {self.colours}: no colour occurs "
                "twice in a scene, and one must be absent"
            )
        return self


class Counts(Frozen):
    """Samples of a split, by kind."""

    scenes: int = Field(0, ge=0, description="images with coloured shapes (reasoning questions)")
    pages: int = Field(0, ge=0, description="images with letters (reading questions)")
    text: int = Field(0, ge=0, description="conversations without an image")

    @property
    def samples(self) -> int:
        return self.scenes + self.pages + self.text


class Recipe(Frozen):
    """One optimisation: AdamW, cosine schedule to zero after a linear warm-up, gradient clip 1."""

    epochs: float | None = Field(None, gt=0, description="passes over the data; or give `steps`")
    steps: PositiveInt | None = Field(None, description="optimiser steps; or give `epochs`")
    batch_size: PositiveInt = Field(description="samples per optimiser step")
    learning_rate: float = Field(gt=0)
    projector_learning_rate: float | None = Field(
        None, gt=0, description="of the projector, where it differs from the LLM's"
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    adam_beta2: float = Field(
        0.999, gt=0, lt=1, description="memory of AdamW's second moment; shorter for few steps"
    )
    max_length: PositiveInt = Field(2048, description="tokens, visual tokens included")
    turns: Literal["joined", "apart"] = Field(
        "joined",
        description="whether a turn of a conversation sees those before it (LLaVA), or only the image "
        "and itself, as if it were the only question: many questions for the price of one image",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="bf16: computed and saved in 16 bits; what learns is kept in 32 meanwhile",
    )
    order: Literal["shuffled", "grouped"] = Field(
        "shuffled",
        description="of the samples: by chance, or batches of one modality and of like length "
        "(LLaVA-1.5's stage 2)",
    )
    aspect: Aspect = Field(
        "pad",
        description="what becomes of an image that is not square: padded with the mean colour, or cut to "
        "its middle (LLaVA-1.5's stage 1, where it is called square)",
    )
    checkpoint_every: PositiveInt = Field(500, description="steps between training checkpoints")

    @model_validator(mode="after")
    def _one_length(self) -> "Recipe":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self


class Execution(Frozen):
    """How a recipe is carried out. But for rounding it changes nothing of the result."""

    zero: Literal[0, 2, 3] = Field(
        0,
        description="what several processes share by DeepSpeed: 2 gradients and optimiser states, 3 "
        "weights, too; 0 nothing",
    )
    micro_batch_size: PositiveInt | None = Field(
        None,
        description="most samples that a process takes at once; by default its whole share of the batch",
    )
    activation_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass instead of keeping them"
    )
    workers: NonNegativeInt = Field(
        0,
        description="processes beside each one that trains, which read, decode and tokenise the next "
        "batches meanwhile; 0: it does so itself, between its steps",
    )


class StageRecipe(Recipe):
    """A recipe of stage 1 or 2, which may be trained by several processes."""

    execution: Execution = Field(
        Execution(), description="how it is carried out: a change reruns nothing"
    )


class Transformer(Frozen):
    """Shape and pretraining of a backbone that the study makes from nothing."""

    hidden_size: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    intermediate_size: PositiveInt
    recipe: Recipe

    @model_validator(mode="after")
    def _divisible(self) -> "Transformer":
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}"
            )
        return self


class Tower(Transformer):
    """The vision tower, a CLIP vision transformer; frozen once it is made."""

    patch_size: PositiveInt
    feature_layers: tuple[int, ...] = Field(
        description="hidden states handed to the compressors, joined on channels; the last one is "
        "`patches` (CLIP ViT-L/14: 12, 16, 22, 23)"
    )

    @model_validator(mode="after")
    def _layers_exist(self) -> "Tower":
        if self.recipe.order == "grouped":
            raise ValueError("recipe.order: grouped is for conversations, the tower sees none")
        if not self.feature_layers or not all(0 <= i <= self.layers for i in self.feature_layers):
            raise ValueError(f"feature_layers must be between 0 and layers={self.layers}")
        return self


class Released(Frozen):
    """A backbone as its makers released it: where it is fetched from, and whose shape it has."""

    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")] = Field(
        description="on the Hugging Face hub: owner/name"
    )
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] = Field(
        description="commit of the repository, all 40 digits; a branch may change"
    )
    architecture: str = Field(
        description="row of resources/architectures.csv that has its shape; what is fetched must agree"
    )


class ReleasedTower(Released):
    """A released CLIP vision transformer."""

    feature_layers: tuple[NonNegativeInt, ...] = Field(
        min_length=1, description="as of a tower that the study makes"
    )


class Dataset(Frozen):
    """A released set of conversations, with what estimates need to know of it."""

    dataset: Literal["llava_pretrain", "llava_mix665k"]
    samples: PositiveInt
    text_only: NonNegativeInt = Field(0, description="how many of the samples have no image")
    text_tokens: float = Field(
        gt=0, description="mean text tokens of a sample; for estimates alone"
    )

    @model_validator(mode="after")
    def _has_images(self) -> "Dataset":
        if self.text_only >= self.samples:
            raise ValueError(
                f"text_only {self.text_only} leaves no image of {self.samples} samples"
            )
        return self
