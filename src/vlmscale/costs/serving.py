"""What a GPU must hold to answer, for LLMs whose shape is known and for others by their size."""

from collections.abc import Mapping
from math import log

from vlmscale.costs.flops import compressor_parameters
from vlmscale.costs.memory import HALF, answer_memory_lines
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.methods import find_method


def find_nearest_decoder(
    llm: str, n_params_b: float, shapes: Mapping[str, Decoder | Tower]
) -> Decoder:
    """Return the shape of `llm`; of one without a shape, that of the known LLM nearest in size."""
    shape = shapes.get(llm)
    if isinstance(shape, Decoder):
        return shape
    decoders = [shape for shape in shapes.values() if isinstance(shape, Decoder)]
    return min(decoders, key=lambda decoder: abs(log(decoder.total_b / n_params_b)))


def list_memory_lines(
    llm: str,
    n_params_b: float,
    shapes: Mapping[str, Decoder | Tower],
    tower: Tower | None,
    method: str,
    *,
    with_tower: bool,
) -> list[tuple[float, float]]:
    """Return the memory of an answer as lines (GB, GB a position); it takes the largest of them.

    An LLM without a shape takes 2 bytes for each of its parameters, and keys, values and activations as the
    known LLM that is nearest in size. Without a tower, there is no projector either.
    """
    decoder = find_nearest_decoder(llm, n_params_b, shapes)
    other = 0.0 if decoder is shapes.get(llm) else HALF * (n_params_b - decoder.total_b)
    compressor = 0.0
    if tower is not None:
        possible = find_method(method).list_counts(tower.grid_side)
        compressor = compressor_parameters(
            method,
            possible[0],
            tower=tower,
            llm_width=decoder.hidden_size,
            layer_parameters=decoder.layer_parameters,
        )
    lines = answer_memory_lines(decoder, tower=tower if with_tower else None, compressor=compressor)
    return [(fixed / 1e9 + other, each / 1e9) for fixed, each in lines]
