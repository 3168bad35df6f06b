"""PruMerge and PruMerge+: which patches are kept, and what is merged into them."""

import numpy as np
import pytest
import torch

from tests.support.projectors import make_features, make_projector, select_images

MERGING = ("prumerge", "prumerge_plus")


@pytest.mark.parametrize("name", MERGING)
def test_merging_takes_the_weights_of_the_mlp(name):
    make_projector(name, 5).load_state_dict(make_projector("mlp", 36).state_dict())


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("count", ["fixed", "adaptive"])
def test_merging_gives_every_count(name, count):
    f = make_features()
    for v in range(1, 37):
        with torch.no_grad():
            out = make_projector(name, v, count=count)(f)
        if count == "adaptive":
            out, kept = out
            assert kept.shape == (2, v)
            assert kept[:, -1].all()
        assert out.shape == (2, v, 24)
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("count", ["fixed", "adaptive"])
def test_merging_sees_one_image_at_a_time(name, count):
    projector, f = make_projector(name, 36, count=count), make_features(b=5)
    with torch.no_grad():
        together, alone = (
            projector(f),
            [projector(select_images(f, slice(i, i + 1))) for i in range(5)],
        )
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
    projector = make_projector(name, tokens, **options)
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
    f = make_features()
    out = without_mlp("prumerge", v)(f)
    for i in range(2):
        torch.testing.assert_close(out[i], seen_by_eye(f, i, falling(f, i)[: v - 1]))


def test_prumerge_adaptive_keeps_the_outliers():
    f = make_features(b=4)
    out, kept = without_mlp("prumerge", 36, count="adaptive")(f)
    for i in range(4):
        expected = falling(f, i)[: outliers_of(f, i)]
        assert 1 < len(expected) < 12
        torch.testing.assert_close(out[i][kept[i]], seen_by_eye(f, i, expected))
    few, kept = without_mlp("prumerge", 3, count="adaptive")(f)
    assert kept.all()
    assert torch.equal(few, without_mlp("prumerge", 3)(f))


def test_prumerge_plus_takes_half_from_regular_places_and_no_patch_twice():
    f = make_features()
    f.cls_attention[0] = torch.arange(36, 0, -1) / 1000.0  # falling row by row
    out = without_mlp("prumerge_plus", 9)(f)
    # Regular: 4, 13, 22, 31, as 36 patches make 4 stretches of 9. Tops: until there are 8 in all.
    torch.testing.assert_close(out[0], seen_by_eye(f, 0, [0, 1, 2, 3, 4, 13, 22, 31]))
    f.cls_attention[0, 4] = 1.0  # on the grid and a top: it comes first, and nobody comes twice
    out = without_mlp("prumerge_plus", 9)(f)
    torch.testing.assert_close(out[0], seen_by_eye(f, 0, [4, 0, 1, 2, 3, 13, 22, 31]))


def test_prumerge_plus_adaptive_adds_a_grid_to_the_outliers():
    f = make_features(b=4)
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
    f = make_features()
    f.cls_attention[:] = 1 / 37
    _, kept = make_projector(name, 36, count="adaptive")(f)
    assert (kept.sum(dim=1) >= 2).all()


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("count", ["fixed", "adaptive"])
def test_gradient_reaches_the_mlp_of_a_merging_method(name, count):
    projector = make_projector(name, 9, count=count)
    out = projector(make_features())
    (out[0] if count == "adaptive" else out).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in projector.parameters())
