"""The contract of every compressor, and the properties each is known by."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlmscale.methods import (
    evaluate_formula,
    find_method,
    find_variant,
    list_method_names,
    make_variables,
)
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths, build_projector, find_region_side

LAYERS, TOWER = 3, 16


def make(name, side, tokens, llm=24, **options):
    torch.manual_seed(0)
    widths = Widths(tower=TOWER, layers=LAYERS, llm=llm, grid_side=side)
    return build_projector(widths, find_method(name).make_setting(tokens, **options))


def features(side, b=2, llm=24, seed=1, dtype=torch.float32, q=5):
    """Everything a compressor may need, at random."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    multilayer, images = normal(b, side * side, LAYERS * TOWER), normal(b, 1, side, side)
    mask = torch.ones(b, q, dtype=torch.long)
    mask[-1, 3:] = 0
    shrunk = normal(1, TOWER)

    def patches_at(g):
        small = torch.nn.functional.adaptive_avg_pool2d(images.float(), g).to(dtype)
        return small.flatten(2).transpose(1, 2) * shrunk

    return VisionFeatures(
        patches=multilayer[..., -TOWER:],
        grid_side=side,
        multilayer=multilayer,
        question=normal(b, llm),
        question_tokens=normal(b, q, llm),
        question_mask=mask,
        cls_attention=normal(b, side * side).float().softmax(-1),
        keys=normal(b, side * side, TOWER),
        patches_at=patches_at,
    )


def part(f, rows):
    tensors = {
        field.name: getattr(f, field.name)[rows]
        for field in dataclasses.fields(f)
        if isinstance(getattr(f, field.name), torch.Tensor)
    }
    return dataclasses.replace(f, **tensors, patches_at=lambda g: f.patches_at(g)[rows])


def tokens_of(out):
    return out[0] if isinstance(out, tuple) else out


def some(counts):
    """All of a few, else the small ones, the largest and squares between."""
    return [v for v in counts if len(counts) <= 16 or v in (1, 2, 3, 4, 7, 16, 36, 144, counts[-1])]


CASES = [
    (name, side, tokens)
    for name in list_method_names()
    for side in (12, 24)
    for tokens in some(find_method(name).list_counts(side))
]
SMALL = [
    (name, 6, tokens)
    for name in list_method_names()
    for tokens in sorted(
        {find_method(name).list_counts(6)[0], some(find_method(name).list_counts(6))[-2:][0]}
    )
]
# These are about data and trainings; every other option makes another compressor.
ELSEWHERE = {"training", "query_turn", "stage1_template"}
OPTIONAL = [
    (name, 6, some(find_method(name).list_counts(6))[-2:][0], option, value)
    for name in list_method_names()
    for option, values in find_method(name).options.items()
    if option not in ELSEWHERE
    for value in values[1:]
]
BOTH = [(*case, {}) for case in SMALL] + [(*case[:3], {case[3]: case[4]}) for case in OPTIONAL]


@pytest.mark.parametrize(("name", "side", "tokens"), CASES)
def test_shape_weights_and_multiply_adds(name, side, tokens):
    """What the method declares is what torch counts: parameters exactly, products within 2 %."""
    projector, declared = make(name, side, tokens), find_method(name)
    # The plain kernel: torch counts no products of the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = tokens_of(projector(features(side, b=1, q=32)))
    assert out.shape == (1, projector.placeholders, 24)
    names = make_variables(
        grid_side=side, visual_tokens=tokens, tower=TOWER, layers=LAYERS, llm=24, llm_layers=2
    )
    assert sum(p.numel() for p in projector.parameters()) == evaluate_formula(
        declared.weights, names
    )
    counted = counter.get_total_flops() / 2
    assert evaluate_formula(declared.multiply_adds, names) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize("side", [12, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", list_method_names())
def test_every_supported_count(name, side):
    """Of more than 300, every fifth."""
    counts, given = find_method(name).list_counts(side), features(side, b=1)
    for tokens in counts if len(counts) <= 300 else [*counts[::5], counts[-1]]:
        projector = make(name, side, tokens)
        with torch.no_grad():
            out = tokens_of(projector(given))
        assert out.shape == (1, projector.placeholders, 24), tokens


@pytest.mark.parametrize("llm", [16, 24, 40, 64])
@pytest.mark.parametrize(("name", "side", "tokens"), SMALL)
def test_any_llm_width(name, side, tokens, llm):
    projector = make(name, side, tokens, llm=llm)
    out = tokens_of(projector(features(side, llm=llm)))
    assert out.shape == (2, projector.placeholders, llm)


@pytest.mark.parametrize(("name", "side", "tokens", "options"), BOTH)
def test_gradient_reaches_every_parameter_and_no_feature(name, side, tokens, options):
    projector = make(name, side, tokens, **options)
    tokens_of(projector(features(side))).square().sum().backward()
    for key, parameter in projector.named_parameters():
        assert parameter.grad is not None, key
        # A key's bias adds the same to all scores of a query: softmax takes it out again.
        exempt = "in_proj_bias" in key or ("key" in key and key.endswith("bias"))
        assert exempt or parameter.grad.abs().sum() > 0, key
    assert not [key for key, buffer in projector.named_buffers() if buffer.requires_grad]


@pytest.mark.parametrize(("name", "side", "tokens", "options"), BOTH)
def test_batch_composition_does_not_matter(name, side, tokens, options):
    projector, batch = make(name, side, tokens, **options).eval(), features(side, b=3)
    with torch.no_grad():
        together = tokens_of(projector(batch))
        alone = [tokens_of(projector(part(batch, slice(i, i + 1)))) for i in range(3)]
        again = tokens_of(projector(batch))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-5)
    assert torch.equal(together, again)


@pytest.mark.parametrize(("name", "side", "tokens", "options"), BOTH)
def test_bfloat16_and_state_dict(name, side, tokens, options):
    projector = make(name, side, tokens, **options)
    fresh = make(name, side, tokens, **options)
    fresh.load_state_dict(projector.state_dict())
    with torch.no_grad():
        expected = tokens_of(projector(features(side)))
        assert torch.equal(expected, tokens_of(fresh(features(side))))
        low = tokens_of(projector.bfloat16()(features(side, dtype=torch.bfloat16)))
    assert low.dtype == torch.bfloat16
    assert torch.isfinite(low).all()


SERVED = [
    (name, training) for name in list_method_names() for training in find_method(name).served_by
]


@pytest.mark.parametrize(("name", "training"), SERVED)
def test_a_served_method_takes_the_weights_of_its_run(name, training):
    """Whatever the run is: another method's, or its own at another count."""
    options = {"training": training}
    tokens = some(find_method(name).list_counts(6))[0]
    cell = make(name, 6, tokens, **options)
    server, count = find_variant(name, {name: options}).find_training(tokens, 6)
    assert (server, count) != (name, tokens)
    trained = make(server, 6, count, **(options if server == name else {}))
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    cell.load_state_dict(trained.state_dict())
    for key, value in trained.state_dict().items():
        assert torch.equal(cell.state_dict()[key], value), key


def test_region_side_refuses_what_no_grid_allows():
    assert find_region_side(4, 6) == (2, 3)
    for tokens in (2, 25, 49):
        with pytest.raises(ValueError, match=f"visual_tokens={tokens}:"):
            find_region_side(tokens, 6)


def test_mlp_is_two_linears_with_gelu():
    projector, f = make("mlp", 6, 36), features(6)
    first, second = projector.mlp[0], projector.mlp[2]
    expected = second(torch.nn.functional.gelu(first(f.patches)))
    assert torch.equal(projector(f), expected)


def test_avgpool_reads_its_region_only():
    projector, f = make("avgpool", 6, 4), features(6, b=1)
    patches = f.patches.clone().requires_grad_()
    out = projector(VisionFeatures(patches, 6))
    out[0, 3].sum().backward()  # bottom right
    touched = patches.grad[0].abs().sum(-1).reshape(6, 6) > 0
    assert touched[3:, 3:].all()
    assert touched.sum() == 9


def query_sources(tokens, side, **options):
    """Which patches the first TokenPacker query depends on."""
    projector = make("tokenpacker", side, tokens, **options)
    patches = features(side, b=1).patches.clone().requires_grad_()
    projector.shrink(patches, side)[0, 0].sum().backward()
    return (patches.grad[0].abs().sum(-1) > 0).nonzero().flatten().tolist()


def test_tokenpacker_query_reads_the_central_patches_as_released():
    assert query_sources(1, 24) == [11 * 24 + 11, 11 * 24 + 12, 12 * 24 + 11, 12 * 24 + 12]
    assert query_sources(64, 24) == [24 + 1]  # regions of 3 x 3: the single centre
    assert query_sources(36, 24) == [24 + 1, 24 + 2, 48 + 1, 48 + 2]
    assert len(query_sources(1, 24, query_resize="avgpool")) == 576
    assert len(query_sources(1, 24, query_resize="antialias")) > 4


def test_tokenpacker_initialisation_is_the_released_one_scaled_from_its_width():
    """0.02 at 1024 channels; with fewer, outputs start as large."""
    projector = make("tokenpacker", 24, 36)
    for key, module in projector.named_modules():
        if isinstance(module, torch.nn.Linear):
            expected = 0.02 * (1024 / module.in_features) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.2), key
            assert module.bias is None or not module.bias.any()
    widths = Widths(tower=1024, layers=1, llm=64, grid_side=6)
    wide = build_projector(widths, find_method("tokenpacker").make_setting(36))
    assert wide.mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    fused = projector.attention.attention.in_proj_weight  # keeps Xavier-uniform
    assert fused.std().item() > 0.1


def test_tokenpacker_parameters_do_not_depend_on_the_token_count():
    counts = {
        sum(p.numel() for p in make("tokenpacker", 24, tokens).parameters())
        for tokens in find_method("tokenpacker").list_counts(24)
    }
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("name", "tokens", "published"),
    [
        ("tokenpacker", 36, 36_722_688),
        ("quecc", 36, 21_008_384 + 20_979_712),
        ("quecc", 1, 21_581_824 + 20_979_712),
    ],
)
def test_parameters_at_clip_and_vicuna_widths_are_the_published_ones(name, tokens, published):
    widths = Widths(tower=1024, layers=4, llm=4096, grid_side=24)
    with torch.device("meta"):
        projector = build_projector(widths, find_method(name).make_setting(tokens))
    assert sum(p.numel() for p in projector.parameters()) == published


@pytest.mark.parametrize("name", ["tokenpacker", "quecc"])
def test_a_token_attends_to_its_own_region_only(name):
    """Keys and values outside a region do not touch its token; order within it does not matter."""
    projector, f = make(name, 6, 4), features(6, b=1)
    attention, side = projector.attention, projector.side
    query = torch.randn(1, 4, TOWER)
    with torch.no_grad():
        key, value = projector.key(f.multilayer), projector.value(f.multilayer)
        before = attention(query, key, value, side=side)
        other = key.clone()
        other[0, -1] += 10  # bottom right patch
        after = attention(query, other, value, side=side)
        assert torch.equal(before[0, :3], after[0, :3])
        assert not torch.equal(before[0, 3], after[0, 3])
        order = torch.arange(36)
        order[[0, 1, 6]] = order[[6, 0, 1]]  # three patches of the first region
        shuffled = attention(query, key[:, order], value[:, order], side=side)
    torch.testing.assert_close(before, shuffled, atol=1e-6, rtol=1e-5)


def test_quecc_reads_the_question_and_nobody_elses():
    projector, f = make("quecc", 6, 4).eval(), features(6, b=2)
    changed = f.question.clone()
    changed[1] += 1
    with torch.no_grad():
        before = projector(f)
        after = projector(VisionFeatures(f.patches, 6, f.multilayer, changed))
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_quecc_without_its_text_projection_is_text_independent():
    projector, f = make("quecc", 6, 4), features(6)
    for parameter in projector.question.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        before = projector(f)
        after = projector(VisionFeatures(f.patches, 6, f.multilayer, f.question + 1))
    assert torch.equal(before, after)


def test_quecc_with_a_constant_has_all_its_weights_and_reads_no_question():
    asked, constant = (make("quecc", 6, 4, question=value) for value in ("asked", "constant"))
    constant.load_state_dict(asked.state_dict())
    f = features(6)
    other = dataclasses.replace(f, question=f.question + 1)
    ones = dataclasses.replace(f, question=torch.ones_like(f.question))
    with torch.no_grad():
        assert torch.equal(constant(f), constant(other))
        assert torch.equal(constant(f), asked(ones))
        assert not torch.allclose(asked(f), asked(other))


def test_quecc_bilinear_makes_queries_smaller_as_tokenpacker_and_lacks_the_convolution_alone():
    convolution, bilinear = (
        make("quecc", 24, 16, downsampling=value) for value in ("convolution", "bilinear")
    )
    fewer = set(convolution.state_dict()) - set(bilinear.state_dict())
    assert fewer == {"downsample.weight", "downsample.bias"}
    packer, fine = make("tokenpacker", 24, 16), torch.randn(2, 24 * 24, TOWER)
    grid = fine.transpose(1, 2).reshape(2, TOWER, 24, 24)
    mine = bilinear.downsample(grid).flatten(2).transpose(1, 2)
    assert torch.equal(mine, packer.shrink(fine, 24))


def test_quecc_convolution_has_the_region_as_kernel_and_no_norm_behind_it():
    for tokens, window in ((1, 24), (4, 12), (16, 6), (36, 4), (64, 3), (144, 2)):
        conv = make("quecc", 24, tokens).downsample
        assert conv.kernel_size == conv.stride == (window, window)
        assert conv.groups == TOWER
        assert conv.weight.abs().max() <= 1 / window
