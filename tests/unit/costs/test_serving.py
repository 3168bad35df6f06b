"""The lines of memory that recommend() and the explorer share."""

import pytest

from vlmscale.costs.flops import compressor_parameters
from vlmscale.costs.memory import answer_memory
from vlmscale.costs.serving import list_memory_lines
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes

SHAPES = load_shapes()
CLIP = find_shape(SHAPES, "CLIP-ViT-L/14-336", Tower)


@pytest.mark.parametrize("with_tower", [True, False])
@pytest.mark.parametrize("llm", ["Qwen1.5-0.5B", "Vicuna-13B"])
@pytest.mark.parametrize("positions", [2, 700, 100_000])
def test_the_largest_line_is_the_memory_of_an_answer(llm, with_tower, positions):
    decoder = find_shape(SHAPES, llm, Decoder)
    lines = list_memory_lines(
        llm, decoder.total_b, SHAPES, CLIP, "tokenpacker", with_tower=with_tower
    )
    compressor = compressor_parameters("tokenpacker", 1, tower=CLIP, llm_width=decoder.hidden_size)
    tower = CLIP if with_tower else None
    whole = answer_memory(decoder, positions, tower=tower, compressor=compressor)
    assert max(fixed + each * positions for fixed, each in lines) == pytest.approx(whole / 1e9)
    # Two bytes a weight, a tenth more, are the least.
    assert whole / 1e9 > 2 * decoder.total_b / 0.9


def test_an_unknown_llm_takes_two_bytes_a_parameter():
    shapes = {name: SHAPES[name] for name in ("Qwen1.5-1.8B", "Qwen1.5-4B", "Qwen1.5-7B")}
    known = list_memory_lines("Qwen1.5-4B", 4.0, shapes, CLIP, "mlp", with_tower=False)
    other = list_memory_lines("another-4.5B", 4.5, shapes, CLIP, "mlp", with_tower=False)
    total = find_shape(SHAPES, "Qwen1.5-4B", Decoder).total_b
    for (fixed, each), (fixed_other, each_other) in zip(known, other, strict=True):
        assert fixed_other - fixed == pytest.approx(2 * (4.5 - total))
        assert each == each_other
