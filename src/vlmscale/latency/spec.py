"""What is timed, and what a process that times is told: one JSON file, as with training. Needs no torch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from vlmscale.settings import Frozen, Setting


class Compressor(Setting):
    """A setting; `name` is what the study calls its method."""

    name: str


class Asked(Frozen):
    """What is asked of each of `batch` images at once."""

    text_tokens: NonNegativeInt
    cached_text: bool  # it stands before the image, and was computed before
    batch: PositiveInt = 1


def all_asked(text_tokens: Iterable[int], batches: Iterable[int] = (1,)) -> tuple[Asked, ...]:
    """Every number of text tokens, new and cached; without text there is nothing new."""
    return tuple(
        Asked(text_tokens=q, cached_text=cached, batch=batch)
        for batch in batches
        for q in text_tokens
        for cached in ((False, True) if q else (True,))
    )


class LatencySpec(Frozen):
    """One LLM of a study with every compressor that its cells see it with.

    A compressor has fresh weights: what a product of matrices takes does not depend on what is in them.
    """

    name: str  # of the LLM
    llm: Path
    tower: Path
    compressors: tuple[Compressor, ...]
    text_tokens: tuple[NonNegativeInt, ...]
    feature_layers: tuple[int, ...]
    template: str
    precision: Literal["fp32", "bf16"]
    fingerprint: str
    output: Path
