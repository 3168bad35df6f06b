"""Bounded numbers, and the models that all parts of a config share."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Marks the image in a conversation: LLaVA's format, and a token of every tokenizer.
IMAGE_TOKEN = "<image>"
# How models/pixels.py makes an image square.
Aspect = Literal["pad", "crop"]
# What comes first in the turn with the image: the image, as in LLaVA, or the text, which can then be
# computed before there is an image (models/prompt_cache.py).
PromptLayout = Literal["image_first", "text_first"]
Share = Annotated[float, Field(gt=0, lt=1)]
# Bounds keep out what no step can take: NumPy's seeds have 32 bits.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
BILLION = 1_000_000_000
Number = Annotated[int, Field(ge=1, le=BILLION)]  # of samples or steps
Size = Annotated[int, Field(ge=1, le=100_000)]  # of a part of a model or a batch
# The two trainings of a VLM.
Stage = Literal["stage1", "stage2"]
STAGES: tuple[Stage, ...] = ("stage1", "stage2")


class Frozen(BaseModel):
    """An immutable model that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Setting(Frozen):
    """What a projector is built from. Specs and saved models store it under these three keys."""

    method: str
    visual_tokens: int
    options: dict[str, str]

    def __str__(self) -> str:
        options = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        text = f"{self.method} at {self.visual_tokens} visual tokens"
        return f"{text} ({options})" if options else text
