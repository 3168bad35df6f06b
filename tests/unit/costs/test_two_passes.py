"""VoCo-LLaMA's two passes, against transformers' own passes and the counts known of real LLMs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

from vlmscale.costs.flops import compressor_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.costs.sharing import MODES, Reuse, exact_answer_gflops
from vlmscale.costs.two_passes import two_pass_answer_gflops

SHAPES = load_shapes()
CLIP = find_shape(SHAPES, "CLIP-ViT-L/14-336", Tower)
VICUNA = find_shape(SHAPES, "Vicuna-7B", Decoder)


def price(decoder, tower, v, q, reuse):
    return two_pass_answer_gflops(decoder, tower, v, q, 0, reuse=reuse)


def test_both_passes_are_what_torch_counts():
    """Patches and two tokens pass once, then a question that sees the two tokens' keys and values."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    config = Qwen2Config(
        vocab_size=40,
        num_hidden_layers=3,
        num_key_value_heads=2,
        attn_implementation="eager",
        **sizes,
    )
    decoder = Decoder(0.0, 3, 64, 96, 4, 2, 40, tied_head=False, qkv_bias=True)
    tower = Tower(2, 32, 64, image_size=48, patch_size=8)
    patches, v, q = tower.patches, 2, 7
    llm = Qwen2ForCausalLM(config).eval()
    cache = DynamicCache(config=config)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        llm.model(input_ids=torch.zeros(1, patches + v, dtype=torch.long), past_key_values=cache)
        first = counter.get_total_flops() / 1e9
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, -v:], layer.values[:, :, -v:]
        llm(
            input_ids=torch.zeros(1, q, dtype=torch.long),
            past_key_values=cache,
            position_ids=torch.arange(patches + v, patches + v + q)[None],
            logits_to_keep=1,
        )
        second = counter.get_total_flops() / 1e9 - first
    # Torch multiplies all pairs of a pass's tokens, of which causal attention needs half.
    halves = [4 * 3 * 64 * t * t / 2 / 1e9 for t in (patches + v, q)]
    encoder = tower.gflops() + compressor_gflops("mlp", patches, tower=tower, llm_width=64)
    alone = price(decoder, tower, v, q, Reuse())
    cached = price(decoder, tower, v, q, Reuse(cached_image=True))
    assert cached == pytest.approx(second - halves[1], rel=0.02)
    assert alone - cached - encoder == pytest.approx(first - halves[0], rel=0.02)


def test_real_sizes():
    """The first answer costs as much as all patches would; each further one as little as one token."""
    once = VICUNA.forward(577, cached=0, scored=0).total
    later = price(VICUNA, CLIP, 1, 50, Reuse(cached_image=True))
    assert (round(once), round(later)) == (7561, 649)
    alone = price(VICUNA, CLIP, 1, 50, Reuse())
    uncompressed = exact_answer_gflops(
        VICUNA, CLIP, 576, 50, 0, method="mlp", reuse=Reuse(), with_tower=True
    )
    assert alone == pytest.approx(uncompressed, rel=0.01)


def test_questions_share_the_first_pass_and_cached_text_saves_nothing():
    later, alone = (
        price(VICUNA, CLIP, 2, 50, MODES[m]) for m in ("image cached", "neither cached")
    )
    assert 10 * price(VICUNA, CLIP, 2, 50, MODES["10 questions"]) == pytest.approx(
        alone - later + 10 * later
    )
    assert price(VICUNA, CLIP, 2, 50, MODES["text cached"]) == alone
    assert price(VICUNA, CLIP, 2, 50, MODES["both cached"]) == later


@pytest.mark.parametrize(
    "mode", ["neither cached", "image cached", "10 questions", "100 questions"]
)
def test_the_method_is_priced_by_both_passes(mode):
    """Whatever is shared; text before the image, which the release has not, may be cached."""
    shared = {"method": "voco", "with_tower": True}
    for q, g in ((50, 0), (20, 7)):
        found = exact_answer_gflops(VICUNA, CLIP, 2, q, g, reuse=MODES[mode], **shared)
        expected = two_pass_answer_gflops(VICUNA, CLIP, 2, q, g, reuse=MODES[mode])
        assert found == pytest.approx(expected, rel=1e-12)
    cached = exact_answer_gflops(VICUNA, CLIP, 2, 50, 0, reuse=MODES["text cached"], **shared)
    image = VICUNA.forward(578, cached=50, scored=1).total
    mlp = compressor_gflops("mlp", 576, tower=CLIP, llm_width=4096)
    assert cached == pytest.approx(CLIP.gflops() + mlp + image, rel=1e-12)
