"""Downsample reads the shrunk image."""

from dataclasses import replace

import torch

from tests.support.projectors import make_features, make_projector


def test_downsample_reads_the_shrunk_image_only():
    projector, f = make_projector("downsample", 9), make_features()
    with torch.no_grad():
        out = projector(replace(f, patches=torch.full_like(f.patches, torch.nan)))
        assert torch.equal(out, projector.mlp(f.patches_at(3)))
