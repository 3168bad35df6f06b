"""What is known of each baseline compressor, and that its declared costs are the counted ones."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlmscale.methods import evaluate_formula, find_method, make_variables
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths, build_projector

NAMES = ("perceiver", "ldpv2", "cabstractor", "llama_vid", "downsample", "random")
SMALL = Widths(tower=32, layers=3, llm=24, grid_side=6)
LARGE = Widths(tower=64, layers=4, llm=40, grid_side=12)
QUESTION = 32  # tokens that llama_vid's declared cost is for


def make(name, tokens, widths=SMALL, **options):
    torch.manual_seed(0)
    return build_projector(widths, find_method(name).make_setting(tokens, **options)).eval()


def features(widths=SMALL, b=2, seed=1, dtype=torch.float32, question=QUESTION):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    side = widths.grid_side
    shrunk = {g: randn(b, g * g, widths.tower) for g in range(1, side + 1) if side % g == 0}
    return VisionFeatures(
        patches=randn(b, side * side, widths.tower),
        grid_side=side,
        question_tokens=randn(b, question, widths.llm),
        question_mask=torch.ones(b, question, dtype=torch.long),
        patches_at=shrunk.__getitem__,
    )


def rows(f, wanted):
    return replace(
        f,
        patches=f.patches[wanted],
        question_tokens=f.question_tokens[wanted],
        question_mask=f.question_mask[wanted],
        patches_at=lambda g: f.patches_at(g)[wanted],
    )


def several(name, side):
    """A few supported numbers of tokens, the ends among them."""
    supported = find_method(name).list_counts(side)
    return sorted({*supported[:3], supported[len(supported) // 2], supported[-1]})


CASES = [
    (name, widths, tokens)
    for name in NAMES
    for widths in (SMALL, LARGE)
    for tokens in several(name, widths.grid_side)
]


@pytest.mark.parametrize(("name", "widths", "tokens"), CASES)
def test_declared_costs_are_the_counted_ones(name, widths, tokens):
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
    assert sum(p.numel() for p in projector.parameters()) == evaluate_formula(
        declared.weights, names
    )
    # Not under no_grad: the counter cannot follow a view of a parameter there. Of attention on the CPU
    # it knows the plain products only, not the fused kernel.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        out = projector(f)
    assert out.shape == (1, tokens, widths.llm)
    counted = counter.get_total_flops() / 2
    assert evaluate_formula(declared.multiply_adds, names) == pytest.approx(counted, rel=1e-9)


@pytest.mark.parametrize(("name", "widths", "tokens"), CASES)
def test_gradients_batch_composition_and_bfloat16(name, widths, tokens):
    projector, f = make(name, tokens, widths), features(widths, b=3)
    together = projector(f)
    together.square().sum().backward()
    for key, parameter in projector.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
    with torch.no_grad():
        alone = torch.cat([projector(rows(f, slice(i, i + 1))) for i in range(3)])
        low = projector.bfloat16()(features(widths, b=3, dtype=torch.bfloat16))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert low.dtype == torch.bfloat16
    assert torch.isfinite(low).all()


@pytest.mark.parametrize("widths", [Widths(8, 1, 16, 24), Widths(40, 2, 24, 24)])
@pytest.mark.parametrize("name", NAMES)
def test_narrow_and_odd_widths(name, widths):
    for tokens in several(name, widths.grid_side):
        with torch.no_grad():
            out = make(name, tokens, widths)(features(widths, question=3))
        assert out.shape == (2, tokens, widths.llm)


def test_perceiver_reads_a_set_of_patches():
    projector, f = make("perceiver", 5), features()
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        shuffled = projector(replace(f, patches=f.patches[:, order]))
        torch.testing.assert_close(projector(f), shuffled, atol=1e-5, rtol=1e-5)
        other = projector(replace(f, patches=f.patches + 1))  # its norm takes a constant out
        torch.testing.assert_close(projector(f), other, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(
            projector(f), projector(replace(f, patches=f.patches * f.patches))
        )


def test_perceiver_latents_see_each_other():
    projector, f = make("perceiver", 4), features(b=1)
    with torch.no_grad():
        before = projector(f)
        projector.latents[3] += torch.randn(32)
        after = projector(f)
    assert not torch.allclose(before[0, 0], after[0, 0])


def sources(name, tokens, widths=SMALL):
    """Which patches the first visual token depends on, as a grid."""
    projector, f = make(name, tokens, widths), features(widths, b=1)
    patches = f.patches.clone().requires_grad_()
    projector(replace(f, patches=patches))[0, 0].sum().backward()
    side = widths.grid_side
    return patches.grad[0].abs().sum(-1).reshape(side, side) > 0


def test_ldpv2_reads_its_region_and_those_around_it():
    assert sources("ldpv2", 36).nonzero().max() == 1  # its own and three neighbours
    assert sources("ldpv2", 9)[:4, :4].all()
    assert sources("ldpv2", 9).sum() == 16
    assert sources("ldpv2", 1).all()


def test_ldpv2_without_its_convolution_is_the_pooled_mlp():
    projector, f = make("ldpv2", 36), features()
    with torch.no_grad():
        projector.position.weight.zero_()
        projector.position.bias.zero_()
        torch.testing.assert_close(projector(f), projector.mlp(f.patches))
        pooled = make("ldpv2", 4)
        pooled.load_state_dict(projector.state_dict())
        corner = projector.mlp(f.patches).reshape(2, 6, 6, 24)[:, 3:, :3].mean(dim=(1, 2))
        torch.testing.assert_close(pooled(f)[:, 2], corner)


def test_cabstractor_keeps_the_grid_when_each_patch_is_a_token():
    projector, f = make("cabstractor", 36), features()
    with torch.no_grad():
        for block in (*projector.fine, *projector.coarse):  # what remains is the shortcut
            block.leave[1].weight.zero_()
            block.activation = torch.nn.Identity()
        expected = projector.mlp(f.patches + projector.position)
        torch.testing.assert_close(projector(f), expected)


def test_cabstractor_knows_where_a_patch_is():
    projector, f = make("cabstractor", 1), features()
    with torch.no_grad():
        turned = replace(f, patches=f.patches.flip(1))
        assert not torch.allclose(projector(f), projector(turned), atol=1e-6)
    # Six 3 x 3 convolutions reach the whole image, as does squeeze and excitation.
    assert sources("cabstractor", 4).all()


def test_llama_vid_question_changes_only_the_first_token():
    projector, f = make("llama_vid", 5), features()
    asked = replace(f, question_tokens=f.question_tokens.flip(0))
    with torch.no_grad():
        before, after = projector(f), projector(asked)
    assert not torch.allclose(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 1:], after[:, 1:])


def test_llama_vid_content_is_avgpool():
    projector, pooled, f = make("llama_vid", 5), make("avgpool", 4), features()
    pooled.mlp.load_state_dict(projector.mlp.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(projector(f)[:, 1:], pooled(f))


def test_llama_vid_does_not_read_padding():
    projector, f = make("llama_vid", 5), features(question=7)
    mask = f.question_mask.clone()
    mask[0, 4:] = 0
    padded = replace(f, question_mask=mask)
    noise = f.question_tokens.clone()
    noise[0, 4:] = 50 * torch.randn(3, 24)
    short = replace(rows(f, slice(0, 1)), question_tokens=f.question_tokens[:1, :4])
    short = replace(short, question_mask=torch.ones(1, 4))
    with torch.no_grad():
        out = projector(padded)
        assert torch.equal(out, projector(replace(padded, question_tokens=noise)))
        torch.testing.assert_close(out[:1], projector(short), atol=1e-6, rtol=1e-5)
        assert not torch.allclose(out[0, 0], projector(f)[0, 0])


def test_llama_vid_context_is_a_mean_of_patches_when_nothing_is_asked():
    projector, f = make("llama_vid", 2), features()
    with torch.no_grad():
        projector.query.weight.zero_()
        projector.query.bias.zero_()
        expected = projector.context(f.patches.mean(dim=1))
        torch.testing.assert_close(projector(f)[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_downsample_reads_the_shrunk_image_only():
    projector, f = make("downsample", 9), features()
    with torch.no_grad():
        out = projector(replace(f, patches=torch.full_like(f.patches, torch.nan)))
        assert torch.equal(out, projector.mlp(f.patches_at(3)))


def kept(f, tokens):
    """Which patches `random` keeps of each image."""
    projector = make("random", tokens)
    projector.mlp = torch.nn.Identity()
    out = projector(f)
    return [
        [int((p == t).all(-1).nonzero()) for t in o] for o, p in zip(out, f.patches, strict=True)
    ]


def test_random_keeps_the_same_patches_of_an_image_in_any_batch():
    f = features(b=5)
    together = kept(f, 7)
    assert kept(f, 7) == together
    for i in range(5):
        assert kept(rows(f, slice(i, i + 1)), 7) == [together[i]]
    assert kept(rows(f, [4, 2]), 7) == [together[4], together[2]]
    assert len({tuple(choice) for choice in together}) == 5
    assert all(choice == sorted(set(choice)) for choice in together)


def test_random_does_not_depend_on_the_last_digits():
    f = features(b=50)
    generator = torch.Generator().manual_seed(3)
    noise = 1e-6 * torch.randn(f.patches.shape, generator=generator)
    before, after = kept(f, 7), kept(replace(f, patches=f.patches + noise), 7)
    assert before == after


def test_random_choice_is_fixed_for_all_time():
    assert kept(features(b=1), 5) == [[4, 8, 27, 30, 31]]


def test_random_fewer_patches_are_among_more():
    f = features(b=3)
    for few, many in zip(kept(f, 4), kept(f, 20), strict=True):
        assert set(few) <= set(many)


def test_random_covers_the_image():
    counts = torch.zeros(36)
    for choice in kept(features(b=400), 9):
        counts[choice] += 1
    assert counts.min() > 60  # 100 expected
    assert counts.max() < 140


@pytest.mark.parametrize("name", ["random", "downsample"])
def test_training_free_methods_load_what_mlp_learned(name):
    mlp, f = make("mlp", 36), features()
    projector = make(name, 36, training="free")
    projector.load_state_dict(mlp.state_dict())
    whole = replace(f, patches_at={6: f.patches}.__getitem__)
    with torch.no_grad():
        torch.testing.assert_close(projector(whole), mlp(f))
    assert find_method(name).served_by["free"] == ("mlp", "full")
