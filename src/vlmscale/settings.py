"""Parts of a study's config that library functions take as arguments.

They lie apart from study/, so that a new config key does not change the fingerprint of old results.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)

# Marks the image in a conversation: LLaVA's format, and a token of every tokenizer.
IMAGE_TOKEN = "<image>"
# How models/pixels.py makes an image square.
Aspect = Literal["pad", "crop"]
Share = Annotated[float, Field(gt=0, lt=1)]
# The two trainings of a VLM.
Stage = Literal["stage1", "stage2"]
STAGES: tuple[Stage, ...] = ("stage1", "stage2")


class Frozen(BaseModel):
    """An immutable model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Setting(Frozen):
    """What a projector is built from. Specs and saved models store it under these three keys."""

    method: str
    visual_tokens: int
    options: dict[str, str]

    def __str__(self) -> str:
        options = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        text = f"{self.method} at {self.visual_tokens} visual tokens"
        return f"{text} ({options})" if options else text


class World(Frozen):
    """The generated world: what exists in it. `data` says how much of it is drawn."""

    seed: NonNegativeInt = Field(0, description="random seed of the world and its backbones")
    difficulty: float = Field(
        0.5,
        ge=0,
        le=1,
        description="0: fewest objects and letters, easiest questions; 1: most and hardest; "
        "0.5: all equally likely",
    )
    image_size: PositiveInt = Field(48, description="side of the square images, pixels")
    colours: int = Field(8, ge=2, le=8, description="number of colours")
    shapes: int = Field(8, ge=2, le=8, description="number of shapes")
    objects: int = Field(3, ge=1, le=4, description="most objects in a scene")
    relations: PositiveInt = Field(8, description="relations in which a (colour, shape) has facts")
    values: int = Field(16, ge=2, le=64, description="possible values of a fact: 0 to values - 1")
    held_out_facts: Share = Field(
        0.2, description="share of the corpus's facts that stage 2 never asks for"
    )
    alphabet: int = Field(12, ge=3, le=26, description="number of letters")
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
    """Samples of a generated split, by kind."""

    scenes: int = Field(0, ge=0, description="images of coloured shapes (reasoning questions)")
    pages: int = Field(0, ge=0, description="images of letters (reading questions)")
    text: int = Field(0, ge=0, description="conversations without an image")

    @property
    def samples(self) -> int:
        """Samples of all kinds."""
        return self.scenes + self.pages + self.text

    @property
    def images(self) -> int:
        """Samples with an image."""
        return self.scenes + self.pages

    # Mean text tokens of a sample, unknown before the study has made its tokenizer; see Dataset.
    text_tokens: ClassVar[None] = None


class Recipe(Frozen):
    """One optimisation: AdamW, linear warm-up, cosine schedule to zero, gradients clipped at 1."""

    epochs: float | None = Field(
        None, gt=0, description="passes over the data; give either `epochs` or `steps`"
    )
    steps: PositiveInt | None = Field(
        None, description="optimiser steps; give either `epochs` or `steps`"
    )
    batch_size: PositiveInt = Field(
        description="samples per optimiser step, whatever the number of processes that share it"
    )
    learning_rate: float = Field(gt=0, description="peak learning rate")
    projector_learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate of the projector; by default `learning_rate`"
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    adam_beta2: Share = Field(
        0.999, description="decay of AdamW's second moment; choose a smaller one for few steps"
    )
    max_length: PositiveInt = Field(
        2048, description="most tokens of a sequence, visual tokens included"
    )
    turns: Literal["joined", "apart"] = Field(
        "joined",
        description="joined: a turn of a conversation sees those before it (LLaVA); apart: it sees "
        "only the image or text and itself, so that many questions share the price of one image",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="bf16: compute and save in 16 bits; trained weights are 32 bits in training",
    )
    order: Literal["shuffled", "grouped"] = Field(
        "shuffled",
        description="order of the samples; grouped: batches of one modality and similar length "
        "(LLaVA-1.5's stage 2)",
    )
    aspect: Aspect = Field(
        "pad",
        description="how an image becomes square: pad with the mean colour, or crop to the middle "
        "(LLaVA-1.5's stage 1, which calls it square)",
    )
    checkpoint_every: PositiveInt = Field(500, description="steps between checkpoints")

    @model_validator(mode="after")
    def _one_length(self) -> "Recipe":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self


class Execution(Frozen):
    """How a training is run. It changes nothing of the result but rounding."""

    zero: Literal[0, 2, 3] = Field(
        0,
        description="DeepSpeed's ZeRO stage, what processes split: 0 nothing, 2 gradients and "
        "optimiser states, 3 also weights",
    )
    micro_batch_size: PositiveInt | None = Field(
        None,
        description="most samples one process handles per pass; by default its share of the batch",
    )
    activation_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, more computing"
    )
    workers: NonNegativeInt = Field(
        0,
        description="processes beside each training process that read, decode and tokenise the next "
        "batches (through /dev/shm); fewer than `cluster.cpus_per_gpu`, and not counted by --cores",
    )


class StageRecipe(Recipe):
    """The recipe of stage 1 or stage 2, which several processes may share."""

    execution: Execution = Field(
        Execution(),
        description="how the stage is run; changing it reruns nothing, and a profile may set its keys",
    )


class Transformer(Frozen):
    """Shape and pretraining of a backbone that the study trains from nothing."""

    hidden_size: PositiveInt = Field(description="width")
    layers: PositiveInt = Field(description="number of layers")
    heads: PositiveInt = Field(description="attention heads; divides hidden_size")
    intermediate_size: PositiveInt = Field(description="width inside the MLPs")
    recipe: Recipe = Field(description="how it is pretrained, by one process")

    @model_validator(mode="after")
    def _divisible(self) -> "Transformer":
        if self.hidden_size % self.heads:
            raise ValueError(f"heads {self.heads} must divide hidden_size {self.hidden_size}")
        return self


class Tower(Transformer):
    """The vision tower, a CLIP vision transformer; frozen after its pretraining."""

    patch_size: PositiveInt = Field(description="side of a patch, pixels; divides world.image_size")
    feature_layers: tuple[int, ...] = Field(
        description="hidden states that projectors get, joined on channels; the last one is "
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
    """A released backbone: where it is fetched from, and its shape."""

    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")] = Field(
        description="repository on the Hugging Face hub: owner/name"
    )
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] = Field(
        description="commit of the repository, all 40 digits; a branch may move"
    )
    architecture: str = Field(
        description="name in a file of resources/backbones with its shape; a fetched model must agree"
    )


class ReleasedTower(Released):
    """A released CLIP vision transformer."""

    feature_layers: tuple[NonNegativeInt, ...] = Field(
        min_length=1,
        description="hidden states that projectors get, joined on channels; the last one is "
        "`patches` (CLIP ViT-L/14: 12, 16, 22, 23)",
    )


class Dataset(Frozen):
    """A released set of conversations, and its size for estimates."""

    dataset: Literal["llava_pretrain", "llava_mix665k"] = Field(description="name of the data set")
    samples: PositiveInt = Field(description="number of samples")
    text_only: NonNegativeInt = Field(0, description="number of samples without an image")
    text_tokens: float = Field(
        gt=0, description="mean text tokens of a sample; used by estimates only"
    )

    @property
    def images(self) -> int:
        """Samples with an image."""
        return self.samples - self.text_only

    @model_validator(mode="after")
    def _has_images(self) -> "Dataset":
        if self.text_only >= self.samples:
            raise ValueError(f"text_only: {self.text_only} of {self.samples} leaves no image")
        return self
