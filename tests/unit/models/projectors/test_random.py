"""Random patches: the same ones for an image, wherever it stands."""

from dataclasses import replace

import torch

from tests.support.projectors import make_features, make_projector, select_images


def kept(f, tokens):
    """Which patches `random` keeps of each image."""
    projector = make_projector("random", tokens)
    projector.mlp = torch.nn.Identity()
    out = projector(f)
    return [
        [int((p == t).all(-1).nonzero()) for t in o] for o, p in zip(out, f.patches, strict=True)
    ]


def test_random_keeps_the_same_patches_of_an_image_in_any_batch():
    f = make_features(b=5)
    together = kept(f, 7)
    assert kept(f, 7) == together
    for i in range(5):
        assert kept(select_images(f, slice(i, i + 1)), 7) == [together[i]]
    assert kept(select_images(f, [4, 2]), 7) == [together[4], together[2]]
    assert len({tuple(choice) for choice in together}) == 5
    assert all(choice == sorted(set(choice)) for choice in together)


def test_random_does_not_depend_on_the_last_digits():
    f = make_features(b=50)
    generator = torch.Generator().manual_seed(3)
    noise = 1e-6 * torch.randn(f.patches.shape, generator=generator)
    before, after = kept(f, 7), kept(replace(f, patches=f.patches + noise), 7)
    assert before == after


def test_random_choice_is_fixed_for_all_time():
    assert kept(make_features(b=1), 5) == [[4, 8, 27, 30, 31]]


def test_random_fewer_patches_are_among_more():
    f = make_features(b=3)
    for few, many in zip(kept(f, 4), kept(f, 20), strict=True):
        assert set(few) <= set(many)


def test_random_covers_the_image():
    counts = torch.zeros(36)
    for choice in kept(make_features(b=400), 9):
        counts[choice] += 1
    assert counts.min() > 60  # 100 expected
    assert counts.max() < 140
