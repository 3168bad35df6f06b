"""How models are trained: recipes, their execution, and the backbones made from nothing."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from vlmscale.settings.base import Aspect, Frozen, Number, Share, Size

Precision = Literal["fp32", "bf16"]


class Recipe(Frozen):
    """One optimisation: AdamW, linear warm-up, cosine schedule to zero, gradients clipped at 1."""

    epochs: float | None = Field(
        None,
        ge=1e-6,
        le=100_000,
        description="passes over the data; give either `epochs` or `steps`",
    )
    steps: Number | None = Field(
        None, description="optimiser steps; give either `epochs` or `steps`"
    )
    batch_size: Size = Field(
        description="samples per optimiser step, whatever the number of processes that share it"
    )
    learning_rate: float = Field(ge=1e-10, le=1, description="peak learning rate")
    projector_learning_rate: float | None = Field(
        None,
        ge=1e-10,
        le=1,
        description="peak learning rate of the projector; by default `learning_rate`",
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's weight decay")
    adam_beta2: Share = Field(
        0.999, description="decay of AdamW's second moment; choose a smaller one for few steps"
    )
    max_length: Size = Field(2048, description="most tokens of a sequence, visual tokens included")
    turns: Literal["joined", "apart"] = Field(
        "joined",
        description="joined: a turn of a conversation sees those before it (LLaVA); apart: it sees "
        "only the image or text and itself, so that many questions share the price of one image",
    )
    precision: Precision = Field(
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
    checkpoint_every: Number = Field(500, description="steps between checkpoints")

    @model_validator(mode="after")
    def _one_length(self) -> "Recipe":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self


def _require_integer(value: Any) -> Any:
    if type(value) is not int:  # a Literal takes false and 0.0 for 0
        raise ValueError("must be a whole number")
    return value


class Execution(Frozen):
    """How a training is run. It changes nothing of the result but rounding."""

    zero: Annotated[Literal[0, 2, 3], BeforeValidator(_require_integer)] = Field(
        0,
        description="DeepSpeed's ZeRO stage, what processes split: 0 nothing, 2 gradients and "
        "optimiser states, 3 also weights",
    )
    micro_batch_size: Size | None = Field(
        None,
        description="most samples one process handles per pass; by default its share of the batch",
    )
    activation_checkpointing: bool | Literal["auto"] = Field(
        False,
        description="recompute activations in the backward pass: less memory, more computing; auto: where "
        "the memory estimate does not fit the GPUs of `cluster` without it",
    )
    deterministic: bool | None = Field(
        None,
        description="use torch's deterministic algorithms, which repeat a training bit for bit and are "
        "slower on GPUs; by default on CPUs only",
    )
    compile: bool = Field(
        False,
        description="compile the LLM's layers by torch.compile: faster steps on GPUs, after minutes of "
        "compiling; it needs a C++ compiler, on GPUs also Triton",
    )
    workers: int = Field(
        0,
        ge=0,
        le=1000,
        description="processes beside each training process that read, decode and tokenise the next "
        "batches (through /dev/shm); fewer than `cluster.cpus_per_gpu`, and not counted by --cores",
    )

    @model_validator(mode="after")
    def _compile_whole_weights(self) -> "Execution":
        if self.compile and self.zero == 3:
            raise ValueError(
                "compile: true needs whole weights, but zero: 3 splits them. Choose zero: 2, or do not "
                "compile"
            )
        return self


class StageRecipe(Recipe):
    """The recipe of stage 1 or stage 2, which several processes may share."""

    execution: Execution = Field(
        Execution(),
        description="how the stage is run; changing it reruns nothing, and a profile may set its keys",
    )


class Transformer(Frozen):
    """Shape and pretraining of a backbone that the study trains from nothing."""

    hidden_size: Size = Field(description="width")
    layers: int = Field(ge=1, le=1000, description="number of layers")
    heads: Size = Field(description="attention heads; divides hidden_size")
    intermediate_size: Size = Field(description="width inside the MLPs")
    recipe: Recipe = Field(description="how it is pretrained, by one process")

    @model_validator(mode="after")
    def _divisible(self) -> "Transformer":
        if self.hidden_size % self.heads:
            raise ValueError(f"heads {self.heads} must divide hidden_size {self.hidden_size}")
        return self


FeatureLayers = Annotated[
    tuple[NonNegativeInt, ...],
    Field(
        min_length=1,
        description="hidden states that projectors get, joined on channels; the last one is "
        "`patches` (CLIP ViT-L/14: 12, 16, 22, 23)",
    ),
]


class Tower(Transformer):
    """The vision tower, a CLIP vision transformer; frozen after its pretraining."""

    patch_size: Size = Field(description="side of a patch, pixels; divides world.image_size")
    feature_layers: FeatureLayers

    @model_validator(mode="after")
    def _sees_no_conversations(self) -> "Tower":
        if self.recipe.order == "grouped":
            raise ValueError("recipe.order: grouped is for conversations, the tower sees none")
        return self
