"""LLaVA-1.5's MLP, and who uses its weights."""

from dataclasses import replace

import pytest
import torch

from tests.support.projectors import make_features, make_projector
from vlmscale.methods import find_method


def test_mlp_is_two_linears_with_gelu():
    projector, f = make_projector("mlp", 36), make_features()
    first, second = projector.mlp[0], projector.mlp[2]
    expected = second(torch.nn.functional.gelu(first(f.patches)))
    assert torch.equal(projector(f), expected)


@pytest.mark.parametrize("name", ["random", "downsample"])
def test_training_free_methods_load_what_mlp_learned(name):
    mlp, f = make_projector("mlp", 36), make_features()
    projector = make_projector(name, 36, training="free")
    projector.load_state_dict(mlp.state_dict())
    whole = replace(f, patches_at={6: f.patches}.__getitem__)
    with torch.no_grad():
        torch.testing.assert_close(projector(whole), mlp(f))
    assert find_method(name).served_by["free"] == ("mlp", "full")
