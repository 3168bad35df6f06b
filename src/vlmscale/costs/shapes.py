"""Shapes of LLMs and vision towers, and the FLOPs of a pass through one; a multiply-add is two FLOPs.

Every matrix product counts; biases, norms, activations, softmax and the look-up of embeddings do not.
Planning a study needs these, so there is neither torch nor pandas here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vlmscale.errors import UserError
from vlmscale.resources import find_resource


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
        """Return the cost of a pass over `tokens` after `cached` ones; `scored` go through the head.

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
        """Return the cost of the pass over the prompt, which scores its last position alone."""
        if text_cached:
            return self.forward(visual_tokens, cached=text_tokens, scored=1)
        return self.forward(visual_tokens + text_tokens, cached=0, scored=1)

    def decode(self, prompt_tokens: float, generated_tokens: float) -> DecoderCost:
        """Return the cost of one pass for each generated token, all of them scored.

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
        """Return GFLOPs of an image through the patch embedding and `layers` blocks, by default all.

        patches: those of a smaller image, by default of the tower's own size. Features of the
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

# Fields of shapes -> keys of a released config.json.
DECODER_KEYS = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "vocabulary": "vocab_size",
    "tied_head": "tie_word_embeddings",
}
TOWER_KEYS = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "image_size": "image_size",
    "patch_size": "patch_size",
}
_LLMS, _TOWERS = ("llama", "qwen2"), ("clip_vision_model",)


def read_decoder(config: Mapping[str, Any], nominal_b: float = 0.0) -> Decoder:
    """Return the shape of an LLM (Llama or Qwen2) from its config.json. Raises UserError as load_shapes."""
    return Decoder(
        nominal_b=nominal_b,
        **_pick(config, DECODER_KEYS),
        gated_mlp=True,
        qkv_bias=config["model_type"] == "qwen2",
    )


def read_tower(config: Mapping[str, Any]) -> Tower:
    """Return the shape of a vision tower (CLIP) from the vision part of its config.json."""
    return Tower(**_pick(config, TOWER_KEYS), gated_mlp=False)


def _pick(config: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    found = {field: config.get(key) for field, key in keys.items()}
    for field, value in found.items():
        if not isinstance(value, int):
            raise UserError(f"{keys[field]} is {value!r}, must be a whole number, or true or false")
    return found


def load_shapes(folder: Path | None = None) -> dict[str, Decoder | Tower]:
    """Return the shapes of a folder, by default resources/backbones, by name: LLMs by size, then towers.

    Raises UserError for a file that lacks a key or describes an unknown kind of model.
    """
    shapes: dict[str, Decoder | Tower] = {}
    for path in sorted((folder or find_resource("backbones")).glob("*.json")):
        name, shape = _read_file(path)
        if name in shapes:
            raise UserError(f"{path}: another file has the name {name!r}, too")
        shapes[name] = shape
    return dict(sorted(shapes.items(), key=lambda item: _rank(*item)))


def _read_file(path: Path) -> tuple[str, Decoder | Tower]:
    values = json.loads(path.read_text())
    try:
        kind = values["config"]["model_type"]
        if kind in _LLMS:
            return values["name"], read_decoder(values["config"], float(values["nominal_b"]))
        if kind in _TOWERS:
            return values["name"], read_tower(values["config"])
        raise UserError(f"model_type {kind!r} must be one of {', '.join((*_LLMS, *_TOWERS))}")
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]} is missing") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _rank(name: str, shape: Decoder | Tower) -> tuple[str, str, float]:
    size = shape.nominal_b if isinstance(shape, Decoder) else 0.0
    return type(shape).__name__, name.rpartition("-")[0], size


def find_shape(shapes: Mapping[str, Decoder | Tower], name: str, kind: type[Shape]) -> Shape:
    """Return the shape called `name`. Raises UserError unless there is one and it is a `kind`."""
    found = shapes.get(name)
    if not isinstance(found, kind):
        known = ", ".join(key for key, shape in shapes.items() if isinstance(shape, kind))
        raise UserError(
            f"no {kind.__name__.lower()} is called {name!r}; known are {known}. "
            "Add others as files of resources/backbones"
        )
    return found


def _mlp_weights(hidden_size: int, intermediate_size: int, gated: bool) -> int:
    return (3 if gated else 2) * hidden_size * intermediate_size
