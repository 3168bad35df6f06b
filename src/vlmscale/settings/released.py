"""Released backbones and data sets: where they are fetched from, and their sizes."""

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from vlmscale.settings.base import Frozen, Number, Size
from vlmscale.settings.recipes import FeatureLayers


class Released(Frozen):
    """A released backbone: where it is fetched from, and its shape."""

    repository: str = Field(
        pattern=r"^[\w.-]+/[\w.-]+$", description="repository on the Hugging Face hub: owner/name"
    )
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$",
        description="commit of the repository, all 40 digits; a branch may move",
    )
    architecture: str = Field(
        description="name in a file of resources/backbones with its shape; a fetched model must agree"
    )


class ReleasedTower(Released):
    """A released vision transformer of CLIP, SigLIP, SigLIP2 (of one resolution) or DINOv2."""

    feature_layers: FeatureLayers
    image_size: Size | None = Field(
        None,
        description="side of the images it reads, pixels: by default its own, else its positions are "
        "interpolated (SigLIP of 14-pixel patches at 336: 24 x 24 patches)",
    )


class Dataset(Frozen):
    """A released set of conversations, and its size for estimates."""

    dataset: Literal["llava_pretrain", "llava_mix665k"] = Field(description="name of the data set")
    samples: Number = Field(description="number of samples")
    text_only: NonNegativeInt = Field(0, description="number of samples without an image")
    text_tokens: float = Field(
        ge=1, le=1_000_000, description="mean text tokens of a sample; used by estimates only"
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
