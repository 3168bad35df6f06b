"""What an answer and a training sample cost, in GFLOPs; a multiply-add is two FLOPs.

`prefill_gflops` is the paper's count. The rest counts every matrix product of the real layers. Biases,
norms, activations, softmax, resizing, averaging and the look-up of embeddings are left out.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlmscale.costs.shapes import Decoder, DecoderCost, Tower
from vlmscale.errors import UserError
from vlmscale.methods import evaluate_formula, find_method, make_variables

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
    """Return GFLOPs of an image-question pair, 2 N (Q + V + G), N in billions (the paper, section 3.1).

    Tower and compressor are left out, as in the paper; text_tokens is 0 when the text is cached.
    """
    counts = (text_tokens, visual_tokens, generated_tokens)
    total = sum(np.asarray(count, float) for count in counts)
    return np.asarray(2 * np.asarray(n_params_b, float) * total)


def compressor_gflops(
    method: str,
    visual_tokens: int,
    *,
    tower: Tower,
    llm_width: int,
    feature_layers: int = _FEATURE_LAYERS,
) -> float:
    """Return GFLOPs of one image through the projector, from the tower's features to the LLM's input.

    feature_layers: how many of the tower's layers the method reads, if it reads several. The LLM's pass
    over the question is not included. Raises UserError for a count the method cannot give.
    """
    formula = find_method(method).multiply_adds
    names = _names(method, visual_tokens, tower, llm_width, feature_layers)
    return 2 * evaluate_formula(formula, names) / 1e9


def compressor_parameters(
    method: str,
    visual_tokens: int,
    *,
    tower: Tower,
    llm_width: int,
    feature_layers: int = _FEATURE_LAYERS,
) -> float:
    """Return the parameters of the projector; arguments and errors as of compressor_gflops."""
    names = _names(method, visual_tokens, tower, llm_width, feature_layers)
    return evaluate_formula(find_method(method).weights, names)


def _names(
    method: str, visual_tokens: int, tower: Tower, llm_width: int, feature_layers: int
) -> dict[str, float]:
    """Return the variables of formulas. Raises UserError for a count the method cannot give."""
    possible = find_method(method).list_counts(tower.grid_side)
    if visual_tokens not in possible:
        raise UserError(
            f"{method} cannot give {visual_tokens} visual tokens from {tower.patches} patches, only "
            f"{', '.join(map(str, possible))}"
        )
    return make_variables(
        grid_side=tower.grid_side,
        visual_tokens=visual_tokens,
        tower=tower.hidden_size,
        layers=feature_layers,
        llm=llm_width,
        llm_layers=0,
    )


def llm_positions(method: str, visual_tokens: int, *, tower: Tower, decoder: Decoder) -> float:
    """Return the LLM positions of an image, averaged over its layers: usually visual_tokens."""
    names = make_variables(
        grid_side=tower.grid_side,
        visual_tokens=visual_tokens,
        tower=tower.hidden_size,
        layers=_FEATURE_LAYERS,
        llm=decoder.hidden_size,
        llm_layers=decoder.layers,
    )
    return evaluate_formula(find_method(method).positions, names)


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
    """Return the cost of one answer, from the image's pixels to its last token.

    text: what is known before the image comes (see Text). tower_layers as in Tower.gflops,
    feature_layers as in compressor_gflops. A compressor that reads the question reads all of the text.
    """
    positions = llm_positions(method, visual_tokens, tower=tower, decoder=decoder)
    return AnswerCost(
        tower=_tower_gflops(method, visual_tokens, tower, tower_layers),
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
            if find_method(method).reads_question and text == "new"
            else 0.0
        ),
        prefill=decoder.prefill(positions, text_tokens, text_cached=text == "cached"),
        decode=decoder.decode(positions + text_tokens, generated_tokens),
    )


@dataclass(frozen=True)
class TrainingCost:
    """GFLOPs of a sample in a training step, forward and back."""

    tower: float  # frozen: forward only
    compressor: float
    text_pass: float  # of the LLM over the text, for a compressor that reads it; without gradient
    llm: float

    @property
    def total(self) -> float:
        return self.tower + self.compressor + self.text_pass + self.llm


def training_gflops(
    decoder: Decoder,
    tower: Tower,
    method: str,
    visual_tokens: int,
    text_tokens: float,
    *,
    llm_trained: bool,
    stored_features: bool = False,
    feature_layers: int = _FEATURE_LAYERS,
) -> TrainingCost:
    """Return the cost of a training sample: an image as `visual_tokens` (none if 0), and `text_tokens`.

    Back through a matrix product costs as much as forward for its input, and again for its weights where
    they are trained: all of the compressor, the LLM if `llm_trained`. Attention has no weights and twice
    its cost on the way back. All positions count, as if all were scored. What checkpointing of
    activations computes anew is not counted. stored_features: the tower does not run. feature_layers as
    in compressor_gflops.
    """
    forward = decoder.forward(
        visual_tokens + text_tokens, cached=0, scored=visual_tokens + text_tokens
    )
    passes = 3 if llm_trained else 2
    llm = passes * (forward.projections + forward.head) + 3 * forward.attention
    if not visual_tokens:
        return TrainingCost(tower=0.0, compressor=0.0, text_pass=0.0, llm=llm)
    compressor = compressor_gflops(
        method,
        visual_tokens,
        tower=tower,
        llm_width=decoder.hidden_size,
        feature_layers=feature_layers,
    )
    return TrainingCost(
        tower=0.0 if stored_features else _tower_gflops(method, visual_tokens, tower),
        compressor=3 * compressor,
        text_pass=(
            decoder.forward(text_tokens, cached=0, scored=0).total
            if find_method(method).reads_question
            else 0.0
        ),
        llm=llm,
    )


def _tower_gflops(
    method: str, visual_tokens: int, tower: Tower, layers: int | None = None
) -> float:
    # A method that sees the image itself shrinks it to as many patches as it gives visual tokens.
    shrunk = visual_tokens if "pixels" in find_method(method).needs else None
    return tower.gflops(layers, shrunk)
