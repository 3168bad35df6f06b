"""The spec of a process that measures latencies, and the cases it times. Needs no torch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from vlmscale.settings import Frozen, Setting


class NamedSetting(Setting):
    """A setting; `name` is what the study calls its method."""

    name: str


class PromptCase(Frozen):
    """A prompt that `batch` images share in one pass."""

    text_tokens: NonNegativeInt
    cached_text: bool  # the text precedes the image and its keys and values are cached
    batch: PositiveInt = 1

    @property
    def new_tokens(self) -> int:
        """Text tokens in the pass of the image."""
        return 0 if self.cached_text else self.text_tokens


def prompt_cases(
    text_tokens: Iterable[int], batches: Iterable[int] = (1,)
) -> tuple[PromptCase, ...]:
    """List every number of text tokens, new and cached; zero tokens only cached."""
    return tuple(
        PromptCase(text_tokens=q, cached_text=cached, batch=batch)
        for batch in batches
        for q in text_tokens
        for cached in ((False, True) if q else (True,))
    )


class LatencySpec(Frozen):
    """One LLM of a study with every setting of its cells.

    Projectors have random weights: the time of a matrix product does not depend on the values.
    """

    name: str  # of the LLM
    llm: Path
    tower: Path
    settings: tuple[NamedSetting, ...]
    text_tokens: tuple[NonNegativeInt, ...]
    feature_layers: tuple[int, ...]
    image_size: int | None = None  # of the tower, by default its own
    template: str
    precision: Literal["fp32", "bf16"]
    fingerprint: str
    output: Path
