"""Shapes of LLMs and vision towers, and the FLOPs of a pass through one; a multiply-add is two FLOPs.

Every matrix product counts; biases, norms, activations, softmax and the look-up of embeddings do not.
Planning a study needs these, so there is neither torch nor pandas here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from vlmscale.errors import UserError
from vlmscale.resources import find_resource
from vlmscale.settings.towers import TOWER_FAMILIES, find_tower_family


@dataclass(frozen=True)
class DecoderCost:
    """GFLOPs of passes through an LLM."""

    projections: float  # of queries, keys, values and outputs, and the MLP
    attention: float
    head: float

    @property
    def total(self) -> float:
        return self.projections + self.attention + self.head

    def __add__(self, other: "DecoderCost") -> "DecoderCost":
        return DecoderCost(
            self.projections + other.projections,
            self.attention + other.attention,
            self.head + other.head,
        )


@dataclass(frozen=True)
class Decoder:
    """The shape of an LLM with rotary positions, RMS norms and gated MLPs (Llama, Qwen2, Qwen3)."""

    nominal_b: float  # billions of parameters, as in the name
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    key_value_heads: int  # fewer than heads when queries share keys and values in groups
    vocabulary: int  # rows of the embedding, with those that only pad it
    tied_head: bool  # the head is the embedding
    qkv_bias: bool
    # Gigabytes of the released weight files where they hold more than each parameter once in 16 bits.
    released_gb: float | None = None
    head_dim: int | None = None  # where it is not hidden_size / heads
    head_norms: bool = False  # queries and keys have a norm of their own, one for all heads

    @property
    def attention_width(self) -> int:
        """The width of all queries of a position, and of what attention returns to it."""
        return self.heads * self._head_width

    @property
    def key_value_width(self) -> int:
        """The width of all keys of a position, and of all values."""
        return self.key_value_heads * self._head_width

    @property
    def key_value_bytes(self) -> int:
        """Bytes of a position's keys and values in all layers, in 16 bits."""
        return 2 * 2 * self.layers * self.key_value_width

    @property
    def download_gb(self) -> float:
        """Gigabytes of the released weight files."""
        return 2 * self.total_b if self.released_gb is None else self.released_gb

    @property
    def non_embedding_b(self) -> float:
        """Billions of parameters with biases and norms, without embedding and head."""
        return (self.layers * self.layer_parameters + self.hidden_size) / 1e9

    @property
    def layer_parameters(self) -> int:
        """Parameters of a layer, with biases and norms."""
        biases = self.attention_width + 2 * self.key_value_width if self.qkv_bias else 0
        norms = 2 * self.hidden_size + (2 * self._head_width if self.head_norms else 0)
        return self._block_weights + biases + norms

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
            attention=4 * self.layers * self.attention_width * pairs / 1e9,
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
    def _head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.heads

    @property
    def _block_weights(self) -> int:
        attention = 2 * self.hidden_size * (self.attention_width + self.key_value_width)
        return attention + 3 * self.hidden_size * self.intermediate_size  # gate, up and down


@dataclass(frozen=True)
class Tower:
    """The shape of a vision transformer of square images (CLIP, SigLIP, DINOv2)."""

    layers: int
    hidden_size: int
    intermediate_size: int
    image_size: int
    patch_size: int
    feature_layers: int = (
        4  # that a projector gets if it reads several; TokenPacker's and QueCC's as released
    )
    released_gb: float | None = None  # of the weight files, as of Decoder
    kind: str = "clip_vision_model"  # the model_type of its config: settings/towers.py
    registers: int = 0  # positions beside CLS that show no patch
    heads: int = 16  # of its attention; methods that read single heads cost by them

    @property
    def download_gb(self) -> float:
        """Gigabytes of the released weight files."""
        return 2 * self.total_b if self.released_gb is None else self.released_gb

    @property
    def has_cls(self) -> bool:
        """Whether it has a CLS position."""
        return find_tower_family(self.kind).has_cls

    @property
    def special_positions(self) -> int:
        """Positions before the patches: CLS and registers."""
        return int(self.has_cls) + self.registers

    @property
    def grid_side(self) -> int:
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        return self.grid_side**2

    @property
    def total_b(self) -> float:
        """Billions of parameters with biases and norms; without a projection or pooling head."""
        h, i, family = self.hidden_size, self.intermediate_size, find_tower_family(self.kind)
        block = 4 * (h * h + h) + 4 * h + 2 * h * i + h + i + family.block_vectors * h
        # The patches' filter, a place for CLS and each patch; registers have none.
        rows = 3 * self.patch_size**2 + self.special_positions + self.patches
        return (self.layers * block + (rows + family.vectors) * h) / 1e9

    def gflops(self, layers: int | None = None, patches: int | None = None) -> float:
        """Return GFLOPs of an image through the patch embedding and `layers` blocks, by default all.

        patches: those of a smaller image, by default of the tower's own size. Features of the
        last block but one need one block fewer; transformers runs all of them. Attention is over all
        pairs of positions.
        """
        layers = self.layers if layers is None else layers
        if not 0 <= layers <= self.layers:
            raise UserError(f"tower: {layers} layers cannot be run; it has {self.layers}")
        patches = self.patches if patches is None else patches
        h, positions = self.hidden_size, patches + self.special_positions
        embedding = patches * 3 * self.patch_size**2 * h
        projections = 4 * h * h + 2 * h * self.intermediate_size
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
    "heads": "num_attention_heads",
}
_LLMS, _TOWERS = ("llama", "qwen2", "qwen3"), tuple(TOWER_FAMILIES)


def read_decoder(config: Mapping[str, Any], nominal_b: float = 0.0) -> Decoder:
    """Return the shape of an LLM from its config.json. Raises UserError as load_shapes."""
    kind, found = config["model_type"], _pick(config, DECODER_KEYS)
    width = config.get("head_dim")
    return Decoder(
        nominal_b=nominal_b,
        **found,
        qkv_bias=kind == "qwen2",
        head_dim=None if width == found["hidden_size"] // found["heads"] else width,
        head_norms=kind == "qwen3",
    )


def read_tower(config: Mapping[str, Any], feature_layers: int = 4) -> Tower:
    """Return the shape of a vision tower from the vision part of its config.json. Raises UserError."""
    if config.get("use_swiglu_ffn"):
        raise UserError("use_swiglu_ffn is true: the shapes of gated MLPs in towers are not known")
    if ratio := config.get("mlp_ratio"):  # DINOv2's
        config = {**config, "intermediate_size": int(config["hidden_size"] * ratio)}
    return Tower(
        **_pick(config, TOWER_KEYS),
        feature_layers=feature_layers,
        kind=config["model_type"],
        registers=config.get("num_register_tokens", 0),
    )


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

    def rank(name: str) -> tuple[bool, str, float]:
        shape, family = shapes[name], name.rpartition("-")[0]
        return isinstance(shape, Tower), family, getattr(shape, "nominal_b", 0.0)

    return {name: shapes[name] for name in sorted(shapes, key=rank)}


def _read_file(path: Path) -> tuple[str, Decoder | Tower]:
    values = json.loads(path.read_text())
    try:
        kind = values["config"]["model_type"]
        released_gb = values.get("released_gb")
        if kind in _LLMS:
            decoder = read_decoder(values["config"], float(values["nominal_b"]))
            return values["name"], replace(decoder, released_gb=released_gb)
        if kind in _TOWERS:
            return values["name"], replace(read_tower(values["config"]), released_gb=released_gb)
        raise UserError(f"model_type {kind!r} must be one of {', '.join((*_LLMS, *_TOWERS))}")
    except (KeyError, UserError) as error:
        missing = " is missing" if isinstance(error, KeyError) else ""
        raise UserError(f"{path}: {error.args[0]}{missing}") from None


def find_shape(shapes: Mapping[str, Decoder | Tower], name: str, kind: type[Shape]) -> Shape:
    """Return the shape called `name`. Raises UserError unless there is one and it is a `kind`."""
    found = shapes.get(name)
    if not isinstance(found, kind):
        known = ", ".join(key for key, shape in shapes.items() if isinstance(shape, kind))
        raise UserError(
            f"no {kind.__name__.lower()} is called {name!r}; known are {known}; add to resources/backbones"
        )
    return found
