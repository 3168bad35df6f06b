"""The generated world, and how much is drawn of it."""

from typing import ClassVar

from pydantic import Field, model_validator

from vlmscale.settings.base import BILLION, Frozen, Seed, Share


class World(Frozen):
    """The generated world: what exists in it. `data` says how much of it is drawn."""

    seed: Seed = Field(0, description="random seed of the world and its backbones")
    difficulty: float = Field(
        0.5,
        ge=0,
        le=1,
        description="0: fewest objects and letters, easiest questions; 1: most and hardest; "
        "0.5: all equally likely",
    )
    image_size: int = Field(48, ge=16, le=2048, description="side of the square images, pixels")
    colours: int = Field(8, ge=2, le=8, description="number of colours")
    shapes: int = Field(8, ge=2, le=8, description="number of shapes")
    objects: int = Field(3, ge=1, le=4, description="most objects in a scene")
    relations: int = Field(
        8, ge=1, le=1000, description="relations in which a (colour, shape) has facts"
    )
    values: int = Field(16, ge=2, le=64, description="possible values of a fact: 0 to values - 1")
    held_out_facts: Share = Field(
        0.2, description="share of the corpus's facts that stage 2 never asks for"
    )
    alphabet: int = Field(12, ge=3, le=26, description="number of letters")
    lines: int = Field(2, ge=1, le=4, description="most lines of a page")
    columns: int = Field(2, ge=2, le=4, description="most letters in a line")

    @property
    def share_of_scenes_with_two_objects(self) -> float:
        """The probability that draw_number (data/world/scenes.py) gives a scene two or more objects."""
        most, d = self.objects - 1, self.difficulty
        weights = [d**more * (1 - d) ** (most - more) for more in range(most + 1)]
        return 1 - weights[0] / sum(weights)

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

    scenes: int = Field(
        0, ge=0, le=BILLION, description="images of coloured shapes (reasoning questions)"
    )
    pages: int = Field(0, ge=0, le=BILLION, description="images of letters (reading questions)")
    text: int = Field(0, ge=0, le=BILLION, description="conversations without an image")

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
