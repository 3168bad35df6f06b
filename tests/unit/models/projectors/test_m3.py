"""M3: nested scales of average pooling."""

import numpy as np
import pytest
import torch

from tests.support.projectors import make_features, make_projector
from vlmscale.methods import find_method
from vlmscale.models.projectors.base import Widths


def test_m3_at_full_scale_is_the_mlp():
    elastic, plain, f = make_projector("m3", 36), make_projector("mlp", 36), make_features()
    plain.load_state_dict(elastic.state_dict())
    with torch.no_grad():
        assert torch.equal(elastic(f), plain(f))


def test_m3_scales_are_nested_means():
    projector, f = make_projector("m3", 36), make_features()
    with torch.no_grad():
        nine = projector(f, 9)
        torch.testing.assert_close(projector(f, 1)[:, 0], nine.mean(dim=1))
        finest = projector(f)[0].reshape(6, 6, -1)
    torch.testing.assert_close(nine[0, 5], finest[2:4, 4:6].mean(dim=(0, 1)))


@pytest.mark.parametrize(
    ("side", "scales"),
    [(24, [1, 9, 36, 144, 576]), (12, [1, 9, 36, 144]), (6, [1, 9, 36]), (5, [1, 25])],
)
def test_m3_trains_all_nested_scales_in_stage_2(side, scales):
    widths, rng = Widths(tower=8, layers=1, llm=8, grid_side=side), np.random.default_rng(0)
    projector = make_projector("m3", side * side, widths)
    assert projector.draw_training_counts("stage1", rng) == [side * side]
    assert projector.draw_training_counts("stage2", rng) == scales
    assert set(scales) <= set(find_method("m3").list_counts(side))
