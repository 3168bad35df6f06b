"""What answers about one image share, against the LLM's own count of keys and values kept."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

from vlmscale.costs.flops import answer_gflops
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.costs.sharing import Reuse, exact_answer_gflops, nominal_answer_gflops
from vlmscale.methods import list_method_names

SHAPES = load_shapes()
CLIP = find_shape(SHAPES, "CLIP-ViT-L/14-336", Tower)
QWEN = find_shape(SHAPES, "Qwen1.5-4B", Decoder)


def exact(v, q, g, reuse, method="tokenpacker", *, with_tower=True):
    return exact_answer_gflops(
        QWEN, CLIP, v, q, g, method=method, reuse=reuse, with_tower=with_tower
    )


def nominal(v, q, g, reuse, method="tokenpacker"):
    price = nominal_answer_gflops(
        4.0, v, q, g, method=method, reuse=reuse, tower_gflops=CLIP.gflops()
    )
    return float(price)


@pytest.mark.parametrize("method", ["tokenpacker", "quecc", "mlp", "fastv"])
@pytest.mark.parametrize("prompt_cache", [True, False])
@pytest.mark.parametrize("cached_text", [True, False])
def test_one_question_an_image_pays_for_all(method, prompt_cache, cached_text):
    reuse = Reuse(cached_text=cached_text, prompt_cache=prompt_cache)
    v = {"mlp": 576}.get(method, 144)
    text = "cached" if cached_text else "new"
    whole = answer_gflops(QWEN, CLIP, method, v, 50, 5, text=text)
    assert exact(v, 50, 5, reuse, method) == pytest.approx(whole.total, rel=1e-12)
    paper = prefill_gflops(4.0, v, 0 if cached_text else 50, 5) + CLIP.gflops()
    assert nominal(v, 50, 5, reuse, method) == pytest.approx(float(paper), rel=1e-12)


def test_the_questions_of_an_image_pay_for_it_once():
    """k answers cost as much as the image alone and k answers to a cached one."""
    for price in (exact, nominal):
        free = price(64, 50, 5, Reuse(cached_image=True))
        image = price(64, 50, 5, Reuse()) - free
        for k in (1, 2, 10, 1000):
            assert k * price(64, 50, 5, Reuse(questions_per_image=k)) == pytest.approx(
                image + k * free
            )


def test_a_kept_prefix_costs_what_torch_counts():
    """A question after an image whose keys and values are kept, in transformers."""
    config = Qwen2Config(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    decoder = Decoder(0.0, 3, 32, 48, 4, 4, 40, tied_head=False, qkv_bias=True)
    llm = Qwen2ForCausalLM(config).eval()
    v, q = 24, 8
    cache = DynamicCache(config=config)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        llm.model(input_ids=torch.zeros(1, v, dtype=torch.long), past_key_values=cache)
        before = counter.get_total_flops()
        llm.model(input_ids=torch.zeros(1, q, dtype=torch.long), past_key_values=cache)
        after = counter.get_total_flops() - before
    price = exact_answer_gflops(
        decoder,
        CLIP,
        v,
        q,
        0,
        method="tokenpacker",
        reuse=Reuse(cached_image=True),
        with_tower=False,
    )
    head = 2 * 40 * 32 / 1e9
    # Torch multiplies all pairs of the question's tokens, of which causal attention needs half.
    pairs = 4 * 3 * 32 * q * q / 2 / 1e9
    assert price - head + pairs == pytest.approx(after / 1e9, rel=1e-9)


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        ("tokenpacker", {"cached_text": True}, "the text comes before the image"),
        ("tokenpacker", {"prompt_cache": False}, "the LLM has no prompt cache"),
        ("quecc", {}, "quecc reads the question"),
        ("fastv", {}, "fastv prunes inside the LLM"),
    ],
)
def test_where_every_question_pays_for_the_tokens_in_the_llm(method, options, reason):
    cached = Reuse(cached_image=True, **options)
    assert reason in cached.explain(method)
    assert reason in cached.explain_full_prefix(method)
    text = 0 if cached.cached_text else 50
    assert nominal(16, 50, 0, cached, method) == pytest.approx(2 * 4 * (text + 16))
    alone = exact(16, 50, 0, Reuse(**options), method)
    saved = alone - exact(16, 50, 0, cached, method)
    whole = answer_gflops(
        QWEN, CLIP, method, 16, 50, text="cached" if cached.cached_text else "new"
    )
    projector = 0.0 if method == "quecc" else whole.compressor
    assert saved == pytest.approx(whole.tower + projector)


def test_every_method_says_what_its_questions_share():
    kept = [name for name in list_method_names() if not Reuse().explain_full_prefix(name)]
    assert {"tokenpacker", "mlp", "mqt"} <= set(kept)
    assert not {
        "quecc",
        "fastv",
        "dart",
        "pyramiddrop",
        "sparsevlm",
        "llama_vid",
        "cdpruner",
    } & set(kept)
    for name in list_method_names():
        assert ("and the projector" in Reuse().explain(name)) == (
            name not in ("quecc", "llama_vid", "cdpruner")
        )


def test_stored_features_leave_the_llm_to_pay_for():
    reuse = Reuse(questions_per_image=4)
    with_tower, without = (exact(36, 20, 2, reuse, with_tower=which) for which in (True, False))
    whole = answer_gflops(QWEN, CLIP, "tokenpacker", 36, 20, 2)
    assert with_tower - without == pytest.approx((whole.tower + whole.compressor) / 4)
    assert np.isclose(without, exact(36, 20, 2, Reuse(), with_tower=False), rtol=0.6)
