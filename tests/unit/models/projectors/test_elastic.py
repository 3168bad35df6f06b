"""What the elastic, repeating and merging methods are known by, and that their formulas count right."""

import math

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlmscale.methods import evaluate_formula, find_method, make_variables
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths, build_projector
from vlmscale.models.projectors.mqt import make_sine_positions

METHODS = ("m3", "mqt", "prumerge", "prumerge_plus", "repeat")
MERGING = ("prumerge", "prumerge_plus")
SIZES = [
    Widths(tower=32, layers=3, llm=24, grid_side=6),
    Widths(tower=64, layers=4, llm=40, grid_side=12),
]


def make(name, tokens, widths=SIZES[0], **options):
    torch.manual_seed(0)
    return build_projector(widths, find_method(name).make_setting(tokens, **options))


def features(widths=SIZES[0], b=2, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    d, p = widths.tower, widths.grid_side**2
    multilayer = torch.randn(b, p, widths.layers * d, generator=generator).to(dtype)
    return VisionFeatures(
        multilayer[..., -d:],
        widths.grid_side,
        multilayer,
        # float32 in any case; an outlier here and there
        cls_attention=(3 * torch.randn(b, p + 1, generator=generator)).softmax(-1)[:, 1:],
        keys=torch.randn(b, p, d, generator=generator).to(dtype),
    )


def one(f, i):
    return VisionFeatures(
        f.patches[i : i + 1],
        f.grid_side,
        f.multilayer[i : i + 1],
        cls_attention=f.cls_attention[i : i + 1],
        keys=f.keys[i : i + 1],
    )


def some_counts(name, side):
    """All token counts, thinned out where there are many."""
    counts = find_method(name).list_counts(side)
    return counts if len(counts) <= 9 else [*counts[:4], counts[len(counts) // 2], *counts[-2:]]


SETTINGS = [
    (name, widths, tokens)
    for name in METHODS
    for widths in SIZES
    for tokens in some_counts(name, widths.grid_side)
]


@pytest.mark.parametrize(("name", "widths", "tokens"), SETTINGS)
def test_formulas_give_what_is_counted(name, widths, tokens):
    projector, f = make(name, tokens, widths), features(widths, b=1)
    names = make_variables(
        grid_side=widths.grid_side,
        visual_tokens=tokens,
        tower=widths.tower,
        layers=widths.layers,
        llm=widths.llm,
        llm_layers=2,
    )
    declared = find_method(name)
    parameters = sum(p.numel() for p in projector.parameters())
    assert evaluate_formula(declared.weights, names) == parameters
    # The CPU's fused attention is not counted, its plain matrix products are.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = projector(f)
    assert out.shape == (1, tokens, widths.llm)
    counted = counter.get_total_flops() / 2
    assert evaluate_formula(declared.multiply_adds, names) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize(("name", "widths", "tokens"), SETTINGS)
def test_bfloat16(name, widths, tokens):
    projector = make(name, tokens, widths).bfloat16()
    with torch.no_grad():
        out = projector(features(widths, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", METHODS)
def test_built_on_the_meta_device(name):
    """A checkpoint is loaded into a model without storage: nothing may be computed when it is built."""
    tokens = find_method(name).list_counts(6)[-1]
    with torch.device("meta"):
        empty = make(name, tokens)
    filled = make(name, tokens)
    empty = empty.to_empty(device="cpu")
    empty.load_state_dict(filled.state_dict())
    with torch.no_grad():
        assert torch.equal(empty(features()), filled(features()))


# --- MQT ---


def test_mqt_gives_the_first_few_of_all_its_tokens():
    projector, f = make("mqt", 16), features()
    with torch.no_grad():
        everything = projector(f)
        for v in find_method("mqt").list_counts(6):
            assert projector(f, v).shape[1] == v
            torch.testing.assert_close(projector(f, v), everything[:, :v])


@pytest.mark.parametrize(("keys", "linear"), [("pos_only", True), ("pos_plus_x", False)])
def test_mqt_attends_to_places_alone_as_released(keys, linear):
    """Then all images are mixed alike, and the mixing is linear in the normed patches."""
    projector = make("mqt", 8, keys=keys)
    projector.value_norm = torch.nn.Identity()
    first, second = features(seed=1), features(seed=2)
    both = VisionFeatures((first.patches + second.patches) / 2, 6)
    with torch.no_grad():
        mean = (projector(first) + projector(second)) / 2
        assert torch.allclose(projector(both), mean, atol=1e-5) == linear


def test_mqt_at_clip_and_vicuna_widths():
    widths = Widths(tower=1024, layers=4, llm=4096, grid_side=24)
    with torch.device("meta"):
        projector = make("mqt", 256, widths)
    assert sum(p.numel() for p in projector.parameters()) == 8_660_992
    assert projector.attention.num_heads == 16


def test_mqt_works_at_a_width_that_64_does_not_divide():
    widths = Widths(tower=200, layers=1, llm=24, grid_side=6)
    projector = make("mqt", 4, widths)
    assert 200 % projector.attention.num_heads == 0
    assert projector(features(widths)).shape == (2, 4, 24)


def test_sine_positions_hold_the_column_then_the_row():
    places = make_sine_positions(3, 16, torch.device("cpu")).reshape(3, 3, 16)
    assert torch.equal(places[0, 1, :8], places[2, 1, :8])
    assert torch.equal(places[1, 0, 8:], places[1, 2, 8:])
    assert places[0, 2, 0].item() == pytest.approx(math.sin(2))
    assert places[0, 2, 5].item() == pytest.approx(math.cos(2 * 10_000**-0.25))


def test_mqt_trains_even_counts_in_stage_2():
    projector, rng = make("mqt", 16), np.random.default_rng(0)
    assert projector.draw_training_counts("stage1", rng) == [16]
    drawn = [projector.draw_training_counts("stage2", rng) for _ in range(300)]
    assert {len(counts) for counts in drawn} == {1}
    assert {counts[0] for counts in drawn} == set(range(2, 17, 2))


# --- M3 ---


def test_m3_at_full_scale_is_the_mlp():
    elastic, plain, f = make("m3", 36), make("mlp", 36), features()
    plain.load_state_dict(elastic.state_dict())
    with torch.no_grad():
        assert torch.equal(elastic(f), plain(f))


def test_m3_scales_are_nested_means():
    projector, f = make("m3", 36), features()
    with torch.no_grad():
        nine = projector(f, 9)
        torch.testing.assert_close(projector(f, 1)[:, 0], nine.mean(dim=1))
        finest = projector(f)[0].reshape(6, 6, -1)
    torch.testing.assert_close(nine[0, 5], finest[2:4, 4:6].mean(dim=(0, 1)))


@pytest.mark.parametrize(
    ("side", "scales"),
    [(24, [1, 9, 36, 144, 576]), (12, [1, 9, 36, 144]), (6, [1, 9, 36]), (5, [1, 25])],
)
def test_m3_trains_all_nested_scales_in_stage_2(side, scales):
    widths, rng = Widths(tower=8, layers=1, llm=8, grid_side=side), np.random.default_rng(0)
    projector = make("m3", side * side, widths)
    assert projector.draw_training_counts("stage1", rng) == [side * side]
    assert projector.draw_training_counts("stage2", rng) == scales
    assert set(scales) <= set(find_method("m3").list_counts(side))


# --- repeated tokens ---


@pytest.mark.parametrize(
    ("order", "pattern"),
    [
        ("block", [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]),
        ("element", [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
    ],
)
def test_repeat_takes_a_tokenpacker_and_repeats_its_tokens(order, pattern):
    packer, repeated, f = make("tokenpacker", 4), make("repeat", 12, order=order), features()
    assert repeated.placeholders == 12
    repeated.load_state_dict(packer.state_dict())
    with torch.no_grad():
        assert torch.equal(repeated(f), packer(f)[:, pattern])


# --- PruMerge and PruMerge+ ---


@pytest.mark.parametrize("name", MERGING)
def test_merging_takes_the_weights_of_the_mlp(name):
    make(name, 5).load_state_dict(make("mlp", 36).state_dict())


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("count", ["fixed", "adaptive"])
def test_merging_gives_every_count(name, count):
    f = features()
    for v in range(1, 37):
        with torch.no_grad():
            out = make(name, v, count=count)(f)
        if count == "adaptive":
            out, kept = out
            assert kept.shape == (2, v)
            assert kept[:, -1].all()
        assert out.shape == (2, v, 24)
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("count", ["fixed", "adaptive"])
def test_merging_sees_one_image_at_a_time(name, count):
    projector, f = make(name, 36, count=count), features(b=5)
    with torch.no_grad():
        together, alone = projector(f), [projector(one(f, i)) for i in range(5)]
    if count == "adaptive":
        assert torch.equal(together[1], torch.cat([kept for _, kept in alone]))
        assert len(set(together[1].sum(1).tolist())) > 1  # a count of its own for each
        together, alone = together[0], [out for out, _ in alone]
    torch.testing.assert_close(together, torch.cat(alone))


def seen_by_eye(f, image, kept, neighbours=32):
    """What merging means, token by token."""
    x, a = f.patches[image], f.cls_attention[image]
    keys = f.keys[image] / f.keys[image].norm(dim=-1, keepdim=True)
    tokens = []
    for i in kept:
        others = [j for j in range(len(x)) if j != i]
        others.sort(key=lambda j: -float(keys[i] @ keys[j]))
        tokens.append(x[i] + sum(a[j] * x[j] for j in others[:neighbours]))
    rest = [j for j in range(len(x)) if j not in kept]
    return torch.stack([*tokens, sum((a[j] * x[j] for j in rest), torch.zeros_like(x[0]))])


def without_mlp(name, tokens, **options):
    projector = make(name, tokens, **options)
    projector.mlp = torch.nn.Identity()
    return projector


def falling(f, image):
    return sorted(range(36), key=lambda j: -float(f.cls_attention[image, j]))


def outliers_of(f, image):
    values = f.cls_attention[image].numpy()
    first, third = np.percentile(values, [25, 75])
    return int((values > third + 1.5 * (third - first)).sum())


@pytest.mark.parametrize("v", [1, 2, 9, 36])
def test_prumerge_keeps_by_falling_attention_and_sums_up_the_rest(v):
    f = features()
    out = without_mlp("prumerge", v)(f)
    for i in range(2):
        torch.testing.assert_close(out[i], seen_by_eye(f, i, falling(f, i)[: v - 1]))


def test_prumerge_adaptive_keeps_the_outliers():
    f = features(b=4)
    out, kept = without_mlp("prumerge", 36, count="adaptive")(f)
    for i in range(4):
        expected = falling(f, i)[: outliers_of(f, i)]
        assert 1 < len(expected) < 12
        torch.testing.assert_close(out[i][kept[i]], seen_by_eye(f, i, expected))
    few, kept = without_mlp("prumerge", 3, count="adaptive")(f)
    assert kept.all()
    assert torch.equal(few, without_mlp("prumerge", 3)(f))


def test_prumerge_plus_takes_half_from_regular_places_and_no_patch_twice():
    f = features()
    f.cls_attention[0] = torch.arange(36, 0, -1) / 1000.0  # falling row by row
    out = without_mlp("prumerge_plus", 9)(f)
    # Regular: 4, 13, 22, 31, as 36 patches make 4 stretches of 9. Tops: until there are 8 in all.
    torch.testing.assert_close(out[0], seen_by_eye(f, 0, [0, 1, 2, 3, 4, 13, 22, 31]))
    f.cls_attention[0, 4] = 1.0  # on the grid and a top: it comes first, and nobody comes twice
    out = without_mlp("prumerge_plus", 9)(f)
    torch.testing.assert_close(out[0], seen_by_eye(f, 0, [4, 0, 1, 2, 3, 13, 22, 31]))


def test_prumerge_plus_adaptive_adds_a_grid_to_the_outliers():
    f = features(b=4)
    out, kept = without_mlp("prumerge_plus", 36, count="adaptive")(f)
    for i in range(4):
        tops = falling(f, i)[: outliers_of(f, i)]
        stride = max(1, 36 // len(tops) // 3)
        expected = tops + [j for j in range(0, 35, stride) if j not in tops]
        if len(expected) <= 35:
            torch.testing.assert_close(out[i][kept[i]], seen_by_eye(f, i, expected))
    few, kept = without_mlp("prumerge_plus", 5, count="adaptive")(f)
    assert kept.all()
    assert torch.equal(few, without_mlp("prumerge_plus", 5)(f))


@pytest.mark.parametrize("name", MERGING)
def test_an_image_without_outliers_keeps_one_patch_at_least(name):
    f = features()
    f.cls_attention[:] = 1 / 37
    _, kept = make(name, 36, count="adaptive")(f)
    assert (kept.sum(dim=1) >= 2).all()


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("count", ["fixed", "adaptive"])
def test_gradient_reaches_the_mlp_of_a_merging_method(name, count):
    projector = make(name, 9, count=count)
    out = projector(features())
    (out[0] if count == "adaptive" else out).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in projector.parameters())


def test_mqt_gradient_reaches_every_parameter():
    for keys in ("pos_only", "pos_plus_x"):
        projector = make("mqt", 16, keys=keys)
        projector(features()).square().sum().backward()
        for key, parameter in projector.named_parameters():
            assert parameter.grad.abs().sum() > 0, key
