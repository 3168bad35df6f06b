"""MQT: prefixes of learned queries."""

import math

import numpy as np
import pytest
import torch

from tests.support.projectors import make_features, make_projector
from vlmscale.methods import find_method
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths
from vlmscale.models.projectors.mqt import make_sine_positions


def test_mqt_gives_the_first_few_of_all_its_tokens():
    projector, f = make_projector("mqt", 16), make_features()
    with torch.no_grad():
        everything = projector(f)
        for v in find_method("mqt").list_counts(6):
            assert projector(f, v).shape[1] == v
            torch.testing.assert_close(projector(f, v), everything[:, :v])


@pytest.mark.parametrize(("keys", "linear"), [("pos_only", True), ("pos_plus_x", False)])
def test_mqt_attends_to_places_alone_as_released(keys, linear):
    """Then all images are mixed alike, and the mixing is linear in the normed patches."""
    projector = make_projector("mqt", 8, keys=keys)
    projector.value_norm = torch.nn.Identity()
    first, second = make_features(seed=1), make_features(seed=2)
    both = VisionFeatures((first.patches + second.patches) / 2, 6)
    with torch.no_grad():
        mean = (projector(first) + projector(second)) / 2
        assert torch.allclose(projector(both), mean, atol=1e-5) == linear


def test_mqt_at_clip_and_vicuna_widths():
    widths = Widths(tower=1024, layers=4, llm=4096, grid_side=24)
    with torch.device("meta"):
        projector = make_projector("mqt", 256, widths)
    assert sum(p.numel() for p in projector.parameters()) == 8_660_992
    assert projector.attention.num_heads == 16


def test_mqt_works_at_a_width_that_64_does_not_divide():
    widths = Widths(tower=200, layers=1, llm=24, grid_side=6)
    projector = make_projector("mqt", 4, widths)
    assert 200 % projector.attention.num_heads == 0
    assert projector(make_features(widths)).shape == (2, 4, 24)


def test_sine_positions_hold_the_column_then_the_row():
    places = make_sine_positions(3, 16, torch.device("cpu")).reshape(3, 3, 16)
    assert torch.equal(places[0, 1, :8], places[2, 1, :8])
    assert torch.equal(places[1, 0, 8:], places[1, 2, 8:])
    assert places[0, 2, 0].item() == pytest.approx(math.sin(2))
    assert places[0, 2, 5].item() == pytest.approx(math.cos(2 * 10_000**-0.25))


def test_mqt_trains_even_counts_in_stage_2():
    projector, rng = make_projector("mqt", 16), np.random.default_rng(0)
    assert projector.draw_training_counts("stage1", rng) == [16]
    drawn = [projector.draw_training_counts("stage2", rng) for _ in range(300)]
    assert {len(counts) for counts in drawn} == {1}
    assert {counts[0] for counts in drawn} == set(range(2, 17, 2))


def test_mqt_gradient_reaches_every_parameter():
    for keys in ("pos_only", "pos_plus_x"):
        projector = make_projector("mqt", 16, keys=keys)
        projector(make_features()).square().sum().backward()
        for key, parameter in projector.named_parameters():
            assert parameter.grad.abs().sum() > 0, key
