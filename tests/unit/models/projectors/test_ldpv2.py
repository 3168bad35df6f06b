"""LDPv2: pooled features and their neighbours."""

import torch

from tests.support.projectors import find_sources, make_features, make_projector


def test_ldpv2_reads_its_region_and_those_around_it():
    assert find_sources("ldpv2", 36).nonzero().max() == 1  # its own and three neighbours
    assert find_sources("ldpv2", 9)[:4, :4].all()
    assert find_sources("ldpv2", 9).sum() == 16
    assert find_sources("ldpv2", 1).all()


def test_ldpv2_without_its_convolution_is_the_pooled_mlp():
    projector, f = make_projector("ldpv2", 36), make_features()
    with torch.no_grad():
        projector.position.weight.zero_()
        projector.position.bias.zero_()
        torch.testing.assert_close(projector(f), projector.mlp(f.patches))
        pooled = make_projector("ldpv2", 4)
        pooled.load_state_dict(projector.state_dict())
        corner = projector.mlp(f.patches).reshape(2, 6, 6, 24)[:, 3:, :3].mean(dim=(1, 2))
        torch.testing.assert_close(pooled(f)[:, 2], corner)
