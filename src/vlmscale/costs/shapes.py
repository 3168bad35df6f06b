"""Shapes of LLMs and vision towers, and the FLOPs of a pass through one; a multiply-add is two FLOPs.

Every matrix product counts; biases, norms, activations, softmax and the look-up of embeddings do not.
Planning a study needs these, so there is neither torch nor pandas here.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from vlmscale.errors import UserError


@dataclass(frozen=True)
class DecoderCost:
    """GFLOPs of passes through an LLM."""

    projections: float  # of queries, keys, values and outputs, and the MLP
    attention: float
    head: float

    @property
    def total(self) -> float:
        return self.projections + self.attention + self.head


@dataclass(frozen=True)
class Decoder:
    """The shape of an LLM with rotary positions and RMS norms (Llama, Qwen)."""

    nominal_b: float  # billions of parameters, as in the name
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    key_value_heads: int  # fewer than heads when queries share keys and values in groups
    vocabulary: int  # rows of the embedding, with those that only pad it
    tied_head: bool  # the head is the embedding
    gated_mlp: bool
    qkv_bias: bool

    @property
    def non_embedding_b(self) -> float:
        """Billions of parameters with biases and norms, without embedding and head."""
        h = self.hidden_size
        biases = h + 2 * self._key_value_width if self.qkv_bias else 0
        return (self.layers * (self._block_weights + biases + 2 * h) + h) / 1e9

    @property
    def total_b(self) -> float:
        """Billions of parameters; a tied head is counted once."""
        matrices = 1 if self.tied_head else 2
        return self.non_embedding_b + matrices * self.vocabulary * self.hidden_size / 1e9

    def forward(self, tokens: float, *, cached: float, scored: float) -> DecoderCost:
        """A pass over `tokens` that follow `cached` ones; `scored` of them go through the head.

        Attention is causal: half of all pairs among the tokens themselves, all pairs with cached ones.
        Grouped heads save projections, not attention.
        """
        pairs = tokens * (cached + tokens / 2)
        return DecoderCost(
            projections=2 * tokens * self.layers * self._block_weights / 1e9,
            attention=4 * self.layers * self.hidden_size * pairs / 1e9,
            head=2 * self.vocabulary * self.hidden_size * scored / 1e9,
        )

    def prefill(
        self, visual_tokens: float, text_tokens: float, *, text_cached: bool = False
    ) -> DecoderCost:
        """The pass over the prompt; its last position alone is scored."""
        if text_cached:
            return self.forward(visual_tokens, cached=text_tokens, scored=1)
        return self.forward(visual_tokens + text_tokens, cached=0, scored=1)

    def decode(self, prompt_tokens: float, generated_tokens: float) -> DecoderCost:
        """One pass for each generated token, all of them scored.

        The prefill scores the first token and the pass over the last one scores the end of the answer.
        """
        return self.forward(generated_tokens, cached=prompt_tokens, scored=generated_tokens)

    @property
    def _key_value_width(self) -> int:
        return self.hidden_size // self.heads * self.key_value_heads

    @property
    def _block_weights(self) -> int:
        attention = 2 * self.hidden_size * (self.hidden_size + self._key_value_width)
        return attention + _mlp_weights(self.hidden_size, self.intermediate_size, self.gated_mlp)


@dataclass(frozen=True)
class Tower:
    """The shape of a vision transformer with a CLS position (CLIP)."""

    layers: int
    hidden_size: int
    intermediate_size: int
    gated_mlp: bool
    image_size: int
    patch_size: int

    @property
    def grid_side(self) -> int:
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        return self.grid_side**2

    @property
    def total_b(self) -> float:
        """Billions of parameters of CLIP's vision transformer, with biases and norms, no projection."""
        h, i = self.hidden_size, self.intermediate_size
        mlp = _mlp_weights(h, i, self.gated_mlp) + h + (2 if self.gated_mlp else 1) * i
        block = 4 * (h * h + h) + 4 * h + mlp
        # A learned CLS, the patches' filter, a place for each position; norms before and after.
        embedding = h + 3 * self.patch_size**2 * h + (self.patches + 1) * h
        return (embedding + self.layers * block + 4 * h) / 1e9

    def gflops(self, layers: int | None = None, patches: int | None = None) -> float:
        """One image through the patch embedding and the first `layers` blocks, by default all.

        patches: of an image made smaller; by default of one of the tower's own size. Features of the
        last block but one need one block fewer; transformers runs all of them. Attention is over all
        pairs of positions.
        """
        if layers is None:
            layers = self.layers
        if not 0 <= layers <= self.layers:
            raise UserError(f"tower: {layers} layers cannot be run; it has {self.layers}")
        patches = self.patches if patches is None else patches
        h, positions = self.hidden_size, patches + 1
        embedding = patches * 3 * self.patch_size**2 * h
        projections = 4 * h * h + _mlp_weights(h, self.intermediate_size, self.gated_mlp)
        block = positions * projections + 2 * h * positions**2
        return 2 * (embedding + layers * block) / 1e9


Shape = TypeVar("Shape", Decoder, Tower)


def load_architectures(path: Path) -> dict[str, Decoder | Tower]:
    """Shapes by name, from a table as resources/architectures.csv (its columns: resources/README.md)."""
    shapes: dict[str, Decoder | Tower] = {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for values in rows:
        name, kind = values.get("name", ""), values.get("kind", "")
        if not name or name in shapes:
            raise UserError(f"{path}: each row needs a name of its own, not {name!r}")
        if kind == "llm":
            shapes[name] = _shape(values, Decoder, f"{path}: {name}")
        elif kind == "tower":
            shapes[name] = _shape(values, Tower, f"{path}: {name}")
        else:
            raise UserError(f"{path}: {name}: kind {kind!r} must be llm or tower")
    return shapes


def find(architectures: Mapping[str, Decoder | Tower], name: str, kind: type[Shape]) -> Shape:
    """The shape called `name`; raises UserError unless there is one and it is a `kind`."""
    found = architectures.get(name)
    if not isinstance(found, kind):
        known = ", ".join(key for key, shape in architectures.items() if isinstance(shape, kind))
        raise UserError(
            f"no {kind.__name__.lower()} is called {name!r}; known are {known}. "
            "Add others to resources/architectures.csv"
        )
    return found


def _shape(values: Mapping[str, str], kind: type[Shape], where: str) -> Shape:
    parsed: dict[str, float | bool] = {}
    for field in fields(kind):
        text = values.get(field.name, "")
        try:
            if field.type is bool:
                parsed[field.name] = {"true": True, "false": False}[text.lower()]
            else:
                parsed[field.name] = float(text) if field.type is float else int(text)
        except (KeyError, ValueError):
            wanted = "true or false" if field.type is bool else "a number"
            raise UserError(f"{where}: {field.name} is {text!r}, must be {wanted}") from None
    return kind(**parsed)  # type: ignore[arg-type]


def _mlp_weights(hidden_size: int, intermediate_size: int, gated: bool) -> int:
    return (3 if gated else 2) * hidden_size * intermediate_size
