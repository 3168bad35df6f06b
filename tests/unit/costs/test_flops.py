"""Costs: the references of the paper's models, what must hold for any, and torch's own count."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.costs.flops import answer_gflops, compressor_gflops
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.errors import UserError
from vlmscale.methods import find_method
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths, build_projector

SHAPES = load_shapes()
CLIP = find_shape(SHAPES, "CLIP-ViT-L/14-336", Tower)


def llm(name):
    return find_shape(SHAPES, name, Decoder)


# Numbers of parameters of the released checkpoints; without embeddings and head; in all.
@pytest.mark.parametrize(
    ("name", "non_embedding", "total"),
    [
        ("Qwen1.5-0.5B", 308_405_248, 463_987_712),
        ("Qwen1.5-1.8B", 1_214_498_816, 1_836_828_672),
        ("Qwen1.5-4B", 3_172_456_960, 3_950_369_280),
        ("Qwen1.5-7B", 6_476_664_832, 7_721_324_544),
        ("Qwen1.5-14B", 12_610_155_520, 14_167_290_880),
        ("Vicuna-7B", 6_476_271_616, 6_738_415_616),
        ("Vicuna-13B", 12_688_184_320, 13_015_864_320),
    ],
)
def test_sizes(name, non_embedding, total):
    assert llm(name).non_embedding_b == pytest.approx(non_embedding / 1e9, rel=1e-12)
    assert llm(name).total_b == pytest.approx(total / 1e9, rel=1e-12)


# Prefill of 576 visual and 50 text tokens; its share of attention; its ratio to 2 N T.
@pytest.mark.parametrize(
    ("name", "total", "attention", "share", "ratio"),
    [("Qwen1.5-7B", 8212, 102.7, 0.013, 0.937), ("Qwen1.5-0.5B", 405.5, 19.3, 0.047, 0.648)],
)
def test_prefill_references(name, total, attention, share, ratio):
    decoder = llm(name)
    cost = decoder.prefill(576, 50)
    assert cost.total == pytest.approx(total, abs=0.5 if total > 1000 else 0.05)
    assert cost.attention == pytest.approx(attention, abs=0.05)
    assert cost.attention / cost.total == pytest.approx(share, abs=5e-4)
    assert cost.total / prefill_gflops(decoder.nominal_b, 576, 50) == pytest.approx(ratio, abs=5e-4)


def test_nominal_references():
    assert prefill_gflops(7, 576, 50) == 8764
    assert prefill_gflops(0.5, 576, 50) == 626
    # 4B with all tokens and 8B with half of them: equal without text only
    assert prefill_gflops(4, 576, 0) == prefill_gflops(8, 288, 0)
    assert prefill_gflops(4, 576, 50) == 2 * 2504
    assert prefill_gflops(8, 288, 50) == 2 * 2704
    # generated tokens, and a second pass over the question, act as text tokens do
    assert prefill_gflops([1, 2], 16, 50, 20).tolist() == prefill_gflops([1, 2], 16, 70).tolist()
    assert optimal_tokens(4.6973, 50 + 20, low=1, high=576) == pytest.approx(18.93, abs=5e-3)
    assert optimal_tokens(4.6973, 2 * 50, low=1, high=576) == pytest.approx(27.05, abs=5e-3)


def test_tower_references():
    assert CLIP.patches == 576
    assert CLIP.gflops() == pytest.approx(381.9, abs=0.05)
    assert CLIP.gflops(23) == pytest.approx(366.0, abs=0.05)
    seven = llm("Qwen1.5-7B")
    assert seven.prefill(1, 0).total == pytest.approx(14.2, abs=0.05)
    assert CLIP.gflops() / seven.prefill(1, 0).total == pytest.approx(27, abs=0.5)
    assert CLIP.gflops() / seven.prefill(1, 50).total == pytest.approx(0.58, abs=5e-3)
    assert CLIP.gflops() / seven.prefill(576, 50).total == pytest.approx(0.05, abs=5e-3)


@pytest.mark.parametrize(("tokens", "quecc"), [(1, 16.97), (4, 17.11), (16, 17.66), (36, 18.58)])
def test_compressor_references(tokens, quecc):
    seven = llm("Vicuna-7B")
    cost = {
        method: compressor_gflops(method, tokens, tower=CLIP, llm_width=4096)
        for method in ("quecc", "tokenpacker", "avgpool")
    }
    assert cost["quecc"] == pytest.approx(quecc, abs=5e-3)
    assert cost["avgpool"] == pytest.approx(0.042 * tokens, rel=2e-3)
    # what QueCC adds: its query path 2.416, text 0.008, convolution 0.001; not TokenPacker's queries
    queries = 2 * tokens * 1024**2 / 1e9
    assert cost["quecc"] - cost["tokenpacker"] + queries == pytest.approx(2.4255, abs=5e-4)
    assert cost["quecc"] > seven.prefill(1, 0).total


# A shape by chance; hidden_size is a multiple of heads, and those of key_value_heads.
decoders = st.builds(
    lambda width, groups, shared, **rest: Decoder(
        hidden_size=width * groups * shared,
        heads=groups * shared,
        key_value_heads=groups,
        nominal_b=1.0,
        **rest,
    ),
    width=st.integers(1, 8),
    groups=st.integers(1, 4),
    shared=st.integers(1, 4),
    layers=st.integers(1, 4),
    intermediate_size=st.integers(1, 64),
    vocabulary=st.integers(1, 1000),
    tied_head=st.booleans(),
    qkv_bias=st.booleans(),
)
counts = st.integers(0, 1000)


@given(decoders, counts, counts, st.booleans())
def test_prefill_grows_with_every_token(decoder, v, q, cached):
    def prefill(v, q, **options):
        return decoder.prefill(v, q, **options).total

    assert prefill(v + 1, q, text_cached=cached) > prefill(v, q, text_cached=cached)
    if v > 0 or not cached:  # without visual tokens nothing looks at cached text
        assert prefill(v, q + 1, text_cached=cached) > prefill(v, q, text_cached=cached)
    assert prefill(v, q, text_cached=True) <= prefill(v, q)


@given(decoders, counts, counts)
def test_decoding(decoder, prompt, g):
    assert decoder.decode(prompt, 0).total == 0
    assert decoder.decode(prompt, g + 1).total > decoder.decode(prompt, g).total
    assert decoder.decode(prompt + 1, g + 1).total > decoder.decode(prompt, g + 1).total
    # Whether tokens are read at once or one after another, projections and attention are the same.
    at_once = decoder.forward(prompt + g, cached=0, scored=1 + g)
    apart = decoder.prefill(prompt, 0).total + decoder.decode(prompt, g).total
    assert apart == pytest.approx(at_once.total)


@given(
    decoders,
    st.sampled_from([("mlp", 576), ("avgpool", 4), ("tokenpacker", 16), ("quecc", 36)]),
    counts,
    counts,
)
def test_parts_of_an_answer(decoder, compressor, q, g):
    method, v = compressor
    answers = {
        text: answer_gflops(decoder, CLIP, method, v, q, g, text=text)
        for text in ("new", "known", "cached")
    }
    assert answers["new"].total >= answers["known"].total >= answers["cached"].total
    for cost in answers.values():
        parts = [cost.tower, cost.compressor, cost.text_pass]
        for passes in (cost.prefill, cost.decode):
            parts += [passes.projections, passes.attention, passes.head]
        assert cost.total == pytest.approx(sum(parts))
        assert cost.without_tower == pytest.approx(sum(parts[1:]))
    assert answers["known"].text_pass == answers["cached"].text_pass == 0
    assert (answers["new"].text_pass > 0) == (method == "quecc" and q > 0)
    assert answers["known"].prefill == answers["new"].prefill


@given(decoders, st.sampled_from(["avgpool", "tokenpacker", "quecc"]), counts, counts)
def test_an_answer_grows_with_every_token(decoder, method, q, g):
    def answer(v, q, g):
        return answer_gflops(decoder, CLIP, method, v, q, g).total

    by_tokens = [answer(v, q, g) for v in (1, 4, 9, 16, 36, 64, 144, 576)]
    assert by_tokens == sorted(set(by_tokens))
    assert answer(4, q + 1, g) > answer(4, q, g)
    assert answer(4, q, g + 1) > answer(4, q, g)


def test_quecc_reads_the_question_at_about_2nq():
    cost = answer_gflops(llm("Vicuna-7B"), CLIP, "quecc", 1, 50, tower_layers=23)
    assert cost.text_pass == pytest.approx(2 * 6.476 * 50, rel=2e-3)
    assert cost.tower == CLIP.gflops(23)


def counted(model, *args, **kwargs):
    """GFLOPs of a forward pass by torch's count; rotary angles, which it takes for attention, are out."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = model(*args, **kwargs)
    by_module = counter.get_flop_counts()
    flops = {str(op): count for op, count in by_module["Global"].items()}
    angles = sum(
        sum(ops.values()) for name, ops in by_module.items() if name.endswith("rotary_emb")
    )
    attention = flops.pop("aten.bmm", 0) - angles
    return sum(flops.values()) / 1e9, attention / 1e9, out


@pytest.mark.parametrize("key_value_heads", [4, 2])
def test_decoder_agrees_with_torch(key_value_heads):
    shape = Decoder(1.0, 2, 32, 48, 4, key_value_heads, 100, False, True)
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=key_value_heads,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    model = Qwen2ForCausalLM(config).eval()
    assert model.num_parameters() / 1e9 == pytest.approx(shape.total_b, rel=1e-12)
    v, q = 11, 5
    # Eager attention computes the masked half, too.
    masked = 2 * shape.layers * shape.hidden_size / 1e9
    linear, attention, _ = counted(model, torch.zeros(1, v + q, dtype=torch.long), logits_to_keep=1)
    cost = shape.prefill(v, q)
    assert linear == pytest.approx(cost.projections + cost.head)
    assert attention == pytest.approx(cost.attention + masked * (v + q) ** 2)

    cache = model(torch.zeros(1, q, dtype=torch.long), use_cache=True).past_key_values
    linear, attention, _ = counted(
        model, torch.zeros(1, v, dtype=torch.long), past_key_values=cache, logits_to_keep=1
    )
    cost = shape.prefill(v, q, text_cached=True)
    assert linear == pytest.approx(cost.projections + cost.head)
    assert attention == pytest.approx(cost.attention + masked * v**2)


def test_tower_agrees_with_torch():
    shape = Tower(3, 32, 64, 24, 8)
    config = CLIPVisionConfig(
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=4,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        attn_implementation="eager",
    )
    linear, attention, _ = counted(CLIPVisionModel(config).eval(), torch.zeros(1, 3, 24, 24))
    assert linear + attention == pytest.approx(shape.gflops())
    assert shape.gflops(2) < shape.gflops()


@pytest.mark.parametrize("method", ["mlp", "avgpool", "tokenpacker", "quecc"])
@pytest.mark.parametrize("side", [1, 2, 6])
def test_compressor_agrees_with_torch(method, side):
    tokens = 36 if method == "mlp" else side**2
    shape, layers, llm_width = Tower(3, 16, 32, 48, 8, feature_layers=3), 3, 40
    widths = Widths(16, layers, llm_width, shape.grid_side)
    model = build_projector(widths, find_method(method).make_setting(tokens))
    features = VisionFeatures(
        patches=torch.zeros(1, 36, 16),
        grid_side=6,
        multilayer=torch.zeros(1, 36, layers * 16),
        question=torch.zeros(1, llm_width),
    )
    linear, attention, out = counted(model, features)
    assert out.shape == (1, tokens, llm_width)
    expected = compressor_gflops(method, tokens, tower=shape, llm_width=llm_width)
    assert linear + attention == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "tokens", "message"),
    [
        ("mlp", 144, "mlp cannot give 144 .* only 576"),
        ("avgpool", 0, "cannot give 0"),
        ("quecc", 5, "only 1, 4, 9, 16, 36, 64, 144, 576"),
        ("tokenpacker", 25, "cannot give 25"),
        ("pool", 1, "no method 'pool'"),
    ],
)
def test_impossible_compressors(method, tokens, message):
    with pytest.raises(UserError, match=message):
        answer_gflops(llm("Vicuna-7B"), CLIP, method, tokens, 50)


def test_a_tower_has_no_more_layers():
    with pytest.raises(UserError, match="it has 24"):
        CLIP.gflops(25)
