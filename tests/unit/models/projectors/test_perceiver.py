"""Perceiver: latents read a set of patches."""

from dataclasses import replace

import torch

from tests.support.projectors import make_features, make_projector


def test_perceiver_reads_a_set_of_patches():
    projector, f = make_projector("perceiver", 5), make_features()
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
    projector, f = make_projector("perceiver", 4), make_features(b=1)
    with torch.no_grad():
        before = projector(f)
        projector.latents[3] += torch.randn(32)
        after = projector(f)
    assert not torch.allclose(before[0, 0], after[0, 0])
