"""The generated world, and how much is drawn of it."""

from typing import ClassVar, Literal, get_args

from pydantic import Field, model_validator

from vlmscale.settings.base import BILLION, Frozen, Seed, Share

# Kinds of questions about a generated image; see data/world/questions.py.
Family = Literal["exist", "attr", "rel", "count", "fact", "calc", "choice", "char", "row", "field"]
# Those that any scene and any page has a question for.
_OF_ANY_SCENE = ("exist", "attr", "count", "calc", "choice")
_OF_ANY_PAGE = ("char", "row")


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
    amounts: Literal["by_difficulty", "log_uniform"] = Field(
        "by_difficulty",
        description="how many objects, lines and letters of a line an image has: `by_difficulty` from the "
        "fewest to the most; `log_uniform` n with probability in proportion to 1/n, so that each doubling "
        "of what an image holds is about as frequent",
    )
    image_size: int = Field(48, ge=16, le=2048, description="side of the square images, pixels")
    colours: int = Field(8, ge=2, le=8, description="number of colours")
    shapes: int = Field(8, ge=2, le=8, description="number of shapes")
    objects: int = Field(3, ge=1, le=7, description="most objects in a scene")
    relations: int = Field(
        8, ge=1, le=1000, description="relations in which a (colour, shape) has facts"
    )
    values: int = Field(16, ge=2, le=64, description="possible values of a fact: 0 to values - 1")
    fact_answers: Literal["value", "shape_and_value"] = Field(
        "value",
        description="answer to a question for a fact: its value, or the object's shape before it, so that "
        "seeing and recalling are two steps of the answer",
    )
    held_out_facts: Share = Field(
        0.2, description="share of the corpus's facts that stage 2 never asks for"
    )
    alphabet: int = Field(12, ge=3, le=26, description="number of letters")
    lines: int = Field(2, ge=1, le=6, description="most lines of a page")
    columns: int = Field(2, ge=2, le=6, description="most letters in a line")
    families: tuple[Family, ...] = Field(
        get_args(Family), description="kinds of questions that are asked"
    )

    def weigh_amounts(self, low: int, high: int) -> list[float]:
        """Return the probability of `low`, ..., `high` objects, lines, or letters in a line."""
        if self.amounts == "log_uniform":
            weights = [1 / number for number in range(low, high + 1)]
        else:
            most, d = high - low, self.difficulty
            weights = [d**more * (1 - d) ** (most - more) for more in range(most + 1)]
        return [weight / sum(weights) for weight in weights]

    @property
    def fewest_columns(self) -> int:
        """The fewest letters in a line."""
        return 1 if self.amounts == "log_uniform" else 2

    @property
    def share_of_scenes_with_two_objects(self) -> float:
        """The probability that a scene has two or more objects."""
        return 1 - self.weigh_amounts(1, self.objects)[0]

    @model_validator(mode="after")
    def _every_image_has_a_question(self) -> "World":
        for kind, names in (("scene", _OF_ANY_SCENE), ("page", _OF_ANY_PAGE)):
            if not set(names) & set(self.families):
                raise ValueError(
                    f"families: no question may be left for a {kind}; add one of {', '.join(names)}"
                )
        return self

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
