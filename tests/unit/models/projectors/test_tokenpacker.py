"""TokenPacker: queries of regions, and regions that do not mix; also QueCC's."""

import pytest
import torch

from tests.support.projectors import NARROW, SMALL, make_features, make_projector
from vlmscale.methods import find_method
from vlmscale.models.projectors.base import Widths, build_projector


def query_sources(tokens, **options):
    """Which patches the first TokenPacker query depends on."""
    projector = make_projector("tokenpacker", tokens, NARROW, **options)
    patches = make_features(NARROW, b=1).patches.clone().requires_grad_()
    projector.shrink(patches, 24)[0, 0].sum().backward()
    return (patches.grad[0].abs().sum(-1) > 0).nonzero().flatten().tolist()


def test_tokenpacker_query_reads_the_central_patches_as_released():
    assert query_sources(1) == [11 * 24 + 11, 11 * 24 + 12, 12 * 24 + 11, 12 * 24 + 12]
    assert query_sources(64) == [24 + 1]  # regions of 3 x 3: the single centre
    assert query_sources(36) == [24 + 1, 24 + 2, 48 + 1, 48 + 2]
    assert len(query_sources(1, query_resize="avgpool")) == 576
    assert len(query_sources(1, query_resize="antialias")) > 4


def test_tokenpacker_initialisation_is_the_released_one_scaled_from_its_width():
    """0.02 at 1024 channels; with fewer, outputs start as large."""
    projector = make_projector("tokenpacker", 36, NARROW)
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
        sum(p.numel() for p in make_projector("tokenpacker", tokens, NARROW).parameters())
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
    projector, f = make_projector(name, 4), make_features(b=1)
    attention, side = projector.attention, projector.side
    query = torch.randn(1, 4, SMALL.tower)
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
