"""What an answer and a training sample cost, in GFLOPs; a multiply-add is two FLOPs.

Every matrix product of the real layers counts. Biases, norms, activations, softmax, resizing, averaging and
the look-up of embeddings are left out. nominal.py has the paper's count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from vlmscale.costs.merging import merging_tower_gflops
from vlmscale.costs.shapes import Decoder, DecoderCost, Tower
from vlmscale.errors import UserError
from vlmscale.methods import find_method
from vlmscale.settings.formulas import evaluate_formula

# What is known of the text before the image comes.
#   new     nothing
#   known   the question is one of a fixed set: what a compressor reads of it is computed once
#   cached  that, and the text stands before the image: its keys and values are computed once, too
Text = Literal["new", "known", "cached"]
DEFAULTS: Mapping[str, str] = MappingProxyType({})  # every option of a method as it is by default


def compressor_gflops(
    method: str,
    visual_tokens: int,
    *,
    tower: Tower,
    llm_width: int,
    options: Mapping[str, str] = DEFAULTS,
) -> float:
    """Return GFLOPs of one image through the projector, from the tower's features to the LLM's input.

    The LLM's pass over the question is not included. options: those of the method that are not default.
    Raises UserError for a count the method cannot give.
    """
    names = make_variables(method, visual_tokens, tower, llm_width, options)
    return 2 * evaluate_formula(find_method(method).multiply_adds, names) / 1e9


def compressor_parameters(
    method: str,
    visual_tokens: int,
    *,
    tower: Tower,
    llm_width: int,
    layer_parameters: int | None = None,
    options: Mapping[str, str] = DEFAULTS,
) -> float:
    """Return the parameters of the projector; arguments and errors as of compressor_gflops.

    layer_parameters: of an LLM layer, for a method that has some of its own (else an error).
    """
    names = make_variables(method, visual_tokens, tower, llm_width, options)
    if layer_parameters is not None:
        names["b"] = layer_parameters
    return evaluate_formula(find_method(method).weights, names)


def make_variables(
    method: str,
    visual_tokens: int,
    tower: Tower,
    llm_width: int,
    options: Mapping[str, str] = DEFAULTS,
) -> dict[str, float | str]:
    """Return the variables of a method's formulas (see Projector), without m, the layers of the LLM.

    Raises UserError for a count the method cannot give.
    """
    side, possible = tower.grid_side, find_method(method).list_counts(tower.grid_side)
    if visual_tokens not in possible:
        raise UserError(
            f"{method} cannot give {visual_tokens} visual tokens from {tower.patches} patches, only "
            f"{', '.join(map(str, possible))}"
        )
    sizes = {"v": visual_tokens, "d": tower.hidden_size, "h": tower.heads}
    sizes |= {"l": tower.feature_layers, "n": llm_width}
    return {**find_method(method).complete_options(options), "w": side, "p": tower.patches, **sizes}


@dataclass(frozen=True)
class ImagePositions:
    """Positions of an image in the LLM, averaged over its layers: usually its visual tokens."""

    passed: float  # that the LLM computes
    kept: float  # whose keys and values serve further questions about the image
    patches: int
    fusion_layers: int  # that run over patches, `passed` and text before the LLM

    @property
    def read(self) -> float:
        """Those that text after the image attends to: of what is there, what would also be kept."""
        return min(self.passed, self.kept)


def count_positions(
    decoder: Decoder, method: str, visual_tokens: float, *, patches: int
) -> ImagePositions:
    """Return the positions of an image, whatever counts the method can give."""
    declared = find_method(method)
    names = {"p": patches, "v": visual_tokens, "m": decoder.layers}
    passed, kept, fusion = (
        evaluate_formula(each, names)
        for each in (declared.positions, declared.kept, declared.fusion_layers)
    )
    return ImagePositions(passed, kept, patches, int(fusion))


def fusion_gflops(decoder: Decoder, image: ImagePositions, text_tokens: float) -> DecoderCost:
    """Return the cost of the layers that a method runs over image and text before the LLM."""
    layers = replace(decoder, layers=image.fusion_layers)
    return layers.forward(image.patches + image.passed + text_tokens, cached=0, scored=0)


@dataclass(frozen=True)
class LlmCost:
    """GFLOPs of an answer's passes through the LLM."""

    prefill: DecoderCost
    decode: DecoderCost


def llm_gflops(
    decoder: Decoder,
    image: ImagePositions,
    text_tokens: float,
    generated_tokens: float,
    *,
    text_cached: bool,
) -> LlmCost:
    """Return the cost of an answer in the LLM, with layers before it; arguments as of answer_gflops.

    Where such layers mix the image into the text, nothing of the text is cached.
    """
    text_cached = text_cached and not image.fusion_layers
    if image.read == image.passed or text_cached:
        prefill = decoder.prefill(image.passed, text_tokens, text_cached=text_cached)
    else:
        prefill = decoder.forward(image.passed, cached=0, scored=0)
        prefill += decoder.forward(text_tokens, cached=image.read, scored=1)
    if image.fusion_layers:
        prefill += fusion_gflops(decoder, image, text_tokens)
    return LlmCost(prefill, decoder.decode(image.read + text_tokens, generated_tokens))


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
    options: Mapping[str, str] = DEFAULTS,
) -> AnswerCost:
    """Return the cost of one answer, from the image's pixels to its last token.

    text: what is known before the image comes (see Text). tower_layers as in Tower.gflops. A
    compressor that reads the question reads all of the text.
    """
    width = decoder.hidden_size
    llm = llm_gflops(
        decoder,
        count_positions(decoder, method, visual_tokens, patches=tower.patches),
        text_tokens,
        generated_tokens,
        text_cached=text == "cached",
    )
    return AnswerCost(
        tower=_tower_gflops(method, visual_tokens, tower, tower_layers),
        compressor=compressor_gflops(
            method, visual_tokens, tower=tower, llm_width=width, options=options
        ),
        text_pass=_text_pass_gflops(method, decoder, text_tokens) if text == "new" else 0.0,
        prefill=llm.prefill,
        decode=llm.decode,
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
    options: Mapping[str, str] = DEFAULTS,
) -> TrainingCost:
    """Return the cost of a training sample: an image as `visual_tokens` (none if 0), and `text_tokens`.

    Back through a matrix product costs as much as forward for its input, and again for its weights where
    they are trained: all of the compressor, the LLM if `llm_trained`. Attention has no weights and twice
    its cost on the way back. All positions count, as if all were scored. What checkpointing of
    activations computes anew is not counted. stored_features: the tower does not run.
    """
    image = count_positions(decoder, method, visual_tokens, patches=tower.patches)
    tokens = text_tokens + (image.passed if visual_tokens else 0)
    forward = decoder.forward(tokens, cached=0, scored=tokens)
    passes = 3 if llm_trained else 2
    llm = passes * (forward.projections + forward.head) + 3 * forward.attention
    if not visual_tokens:
        return TrainingCost(tower=0.0, compressor=0.0, text_pass=0.0, llm=llm)
    width = decoder.hidden_size
    compressor = compressor_gflops(
        method, visual_tokens, tower=tower, llm_width=width, options=options
    )
    return TrainingCost(
        tower=0.0 if stored_features else _tower_gflops(method, visual_tokens, tower),
        compressor=3 * (compressor + fusion_gflops(decoder, image, text_tokens).total),
        text_pass=_text_pass_gflops(method, decoder, text_tokens),
        llm=llm,
    )


def _tower_gflops(
    method: str, visual_tokens: int, tower: Tower, layers: int | None = None
) -> float:
    if "merged_patches" in find_method(method).needs:
        return merging_tower_gflops(tower, visual_tokens, layers)
    # A method that sees the image itself shrinks it to as many patches as it gives visual tokens.
    shrunk = visual_tokens if "pixels" in find_method(method).needs else None
    return tower.gflops(layers, shrunk)


def _text_pass_gflops(method: str, decoder: Decoder, text_tokens: float) -> float:
    if not find_method(method).reads_question_states:
        return 0.0
    return decoder.forward(text_tokens, cached=0, scored=0).total  # its hidden state is read
