"""What an answer costs, in GFLOPs; a multiply-add is two FLOPs.

`prefill_gflops` is the paper's count. The rest counts every matrix product of the real layers. Biases,
norms, activations, softmax, resizing, averaging and the look-up of embeddings are left out.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlmscale.errors import UserError
from vlmscale.methods import evaluate, formula_names
from vlmscale.methods import method as declared

# What is known of the text before the image comes.
#   new     nothing
#   known   the question is one of a fixed set: what a compressor reads of it is computed once
#   cached  that, and the text stands before the image: its keys and values are computed once, too
Text = Literal["new", "known", "cached"]

_FEATURE_LAYERS = 4  # of the tower, that TokenPacker and QueCC read as released


def prefill_gflops(
    n_params_b: ArrayLike,
    visual_tokens: ArrayLike,
    text_tokens: ArrayLike,
    generated_tokens: ArrayLike = 0,
) -> NDArray[np.float64]:
    """GFLOPs of one image-question pair, 2 N (Q + V + G) with N in billions (the paper, section 3.1).

    Tower and compressor are left out, as in the paper; text_tokens is 0 when the text is cached.
    """
    counts = (text_tokens, visual_tokens, generated_tokens)
    total = sum(np.asarray(count, float) for count in counts)
    return np.asarray(2 * np.asarray(n_params_b, float) * total)


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
    def parameters(self) -> int:
        """With biases and norms, the final one included, which features are read before."""
        h, f = self.hidden_size, self.intermediate_size
        embeddings = 3 * self.patch_size**2 * h + h + (self.patches + 1) * h + 2 * h
        mlp = _mlp_weights(h, f, self.gated_mlp) + (2 * f if self.gated_mlp else f) + h
        return embeddings + self.layers * (4 * (h * h + h) + mlp + 4 * h) + 2 * h

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


def compressor_gflops(
    method: str,
    visual_tokens: int,
    *,
    tower: Tower,
    llm_width: int,
    feature_layers: int = _FEATURE_LAYERS,
) -> float:
    """One image through the compressor, from the tower's features to the LLM's input.

    feature_layers: how many of the tower's layers the method reads, if it reads several. The LLM's pass
    over the question is not included. Raises UserError for a count the method cannot give.
    """
    formula = declared(method).multiply_adds
    names = _names(method, visual_tokens, tower, llm_width, feature_layers)
    return 2 * evaluate(formula, names) / 1e9


def compressor_parameters(
    method: str, visual_tokens: int, *, tower: Tower, llm_width: int
) -> float:
    """Parameters of the compressor; arguments and errors as of compressor_gflops."""
    names = _names(method, visual_tokens, tower, llm_width, _FEATURE_LAYERS)
    return evaluate(declared(method).weights, names)


def _names(
    method: str, visual_tokens: int, tower: Tower, llm_width: int, feature_layers: int
) -> dict[str, float]:
    """What formulas are written in; checks that the method can give that many tokens."""
    possible = declared(method).supported(tower.grid_side)
    if visual_tokens not in possible:
        raise UserError(
            f"{method} cannot give {visual_tokens} visual tokens from {tower.patches} patches, only "
            f"{', '.join(map(str, possible))}"
        )
    return formula_names(
        grid_side=tower.grid_side,
        visual_tokens=visual_tokens,
        tower=tower.hidden_size,
        layers=feature_layers,
        llm=llm_width,
        llm_layers=0,
    )


def llm_positions(method: str, visual_tokens: int, *, tower: Tower, decoder: Decoder) -> float:
    """Positions of the LLM that an image takes up, averaged over its layers: usually visual_tokens."""
    names = formula_names(
        grid_side=tower.grid_side,
        visual_tokens=visual_tokens,
        tower=tower.hidden_size,
        layers=_FEATURE_LAYERS,
        llm=decoder.hidden_size,
        llm_layers=decoder.layers,
    )
    return evaluate(declared(method).positions, names)


@dataclass(frozen=True)
class AnswerCost:
    """GFLOPs of one answer about one image."""

    tower: float
    compressor: float
    text_pass: float  # of the LLM over the question, for a compressor that reads it
    prefill: DecoderCost
    decode: DecoderCost

    @property
    def total(self) -> float:
        return self.tower + self.without_tower

    @property
    def without_tower(self) -> float:
        """The cost where the tower's features are stored."""
        return self.compressor + self.text_pass + self.prefill.total + self.decode.total


def answer_gflops(
    decoder: Decoder,
    tower: Tower,
    method: str,
    visual_tokens: int,
    text_tokens: int,
    generated_tokens: int = 0,
    *,
    text: Text = "new",
    tower_layers: int | None = None,
    feature_layers: int = _FEATURE_LAYERS,
) -> AnswerCost:
    """One answer, from the image's pixels to its last token.

    text: what is known before the image comes (see Text). tower_layers as in Tower.gflops,
    feature_layers as in compressor_gflops. A compressor that reads the question reads all of the text.
    """
    # A method that sees the image itself shrinks it to as many patches as it gives visual tokens.
    shrunk = visual_tokens if "pixels" in declared(method).needs else None
    reads_question = {"question", "question_tokens"} & set(declared(method).needs)
    positions = llm_positions(method, visual_tokens, tower=tower, decoder=decoder)
    return AnswerCost(
        tower=tower.gflops(tower_layers, shrunk),
        compressor=compressor_gflops(
            method,
            visual_tokens,
            tower=tower,
            llm_width=decoder.hidden_size,
            feature_layers=feature_layers,
        ),
        # The hidden state is read, nothing is scored.
        text_pass=(
            decoder.forward(text_tokens, cached=0, scored=0).total
            if reads_question and text == "new"
            else 0.0
        ),
        prefill=decoder.prefill(positions, text_tokens, text_cached=text == "cached"),
        decode=decoder.decode(positions + text_tokens, generated_tokens),
    )


Shape = TypeVar("Shape", Decoder, Tower)


def load_architectures(path: Path) -> dict[str, Decoder | Tower]:
    """Shapes by name, from a table as resources/architectures.csv (its columns: resources/README.md)."""
    shapes: dict[str, Decoder | Tower] = {}
    for values in csv.DictReader(path.read_text().splitlines(), restval=""):
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
