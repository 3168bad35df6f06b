"""QueCC: queries that contain the question."""

from dataclasses import replace

import torch

from tests.support.projectors import NARROW, make_features, make_projector
from vlmscale.models.features import VisionFeatures


def test_quecc_reads_the_question_and_nobody_elses():
    projector, f = make_projector("quecc", 4).eval(), make_features(b=2)
    changed = f.question.clone()
    changed[1] += 1
    with torch.no_grad():
        before = projector(f)
        after = projector(VisionFeatures(f.patches, 6, f.multilayer, changed))
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_quecc_without_its_text_projection_is_text_independent():
    projector, f = make_projector("quecc", 4), make_features()
    for parameter in projector.question.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        before = projector(f)
        after = projector(VisionFeatures(f.patches, 6, f.multilayer, f.question + 1))
    assert torch.equal(before, after)


def test_quecc_with_a_constant_has_all_its_weights_and_reads_no_question():
    asked, constant = (
        make_projector("quecc", 4, question=value) for value in ("asked", "constant")
    )
    constant.load_state_dict(asked.state_dict())
    f = make_features()
    other = replace(f, question=f.question + 1)
    ones = replace(f, question=torch.ones_like(f.question))
    with torch.no_grad():
        assert torch.equal(constant(f), constant(other))
        assert torch.equal(constant(f), asked(ones))
        assert not torch.allclose(asked(f), asked(other))


def test_quecc_bilinear_makes_queries_smaller_as_tokenpacker_and_lacks_the_convolution_alone():
    convolution, bilinear = (
        make_projector("quecc", 16, NARROW, downsampling=value)
        for value in ("convolution", "bilinear")
    )
    fewer = set(convolution.state_dict()) - set(bilinear.state_dict())
    assert fewer == {"downsample.weight", "downsample.bias"}
    packer, fine = make_projector("tokenpacker", 16, NARROW), torch.randn(2, 24 * 24, NARROW.tower)
    grid = fine.transpose(1, 2).reshape(2, NARROW.tower, 24, 24)
    mine = bilinear.downsample(grid).flatten(2).transpose(1, 2)
    assert torch.equal(mine, packer.shrink(fine, 24))


def test_quecc_convolution_has_the_region_as_kernel_and_no_norm_behind_it():
    for tokens, window in ((1, 24), (4, 12), (16, 6), (36, 4), (64, 3), (144, 2)):
        conv = make_projector("quecc", tokens, NARROW).downsample
        assert conv.kernel_size == conv.stride == (window, window)
        assert conv.groups == NARROW.tower
        assert conv.weight.abs().max() <= 1 / window
