"""C-Abstractor keeps the grid of patches."""

from dataclasses import replace

import torch

from tests.support.projectors import find_sources, make_features, make_projector


def test_cabstractor_keeps_the_grid_when_each_patch_is_a_token():
    projector, f = make_projector("cabstractor", 36), make_features()
    with torch.no_grad():
        for block in (*projector.fine, *projector.coarse):  # what remains is the shortcut
            block.leave[1].weight.zero_()
            block.activation = torch.nn.Identity()
        expected = projector.mlp(f.patches + projector.position)
        torch.testing.assert_close(projector(f), expected)


def test_cabstractor_knows_where_a_patch_is():
    projector, f = make_projector("cabstractor", 1), make_features()
    with torch.no_grad():
        turned = replace(f, patches=f.patches.flip(1))
        assert not torch.allclose(projector(f), projector(turned), atol=1e-6)
    # Six 3 x 3 convolutions reach the whole image, as does squeeze and excitation.
    assert find_sources("cabstractor", 4).all()
