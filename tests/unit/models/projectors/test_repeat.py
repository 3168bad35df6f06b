"""Repeated tokens are TokenPacker's."""

import pytest
import torch

from tests.support.projectors import make_features, make_projector


@pytest.mark.parametrize(
    ("order", "pattern"),
    [
        ("block", [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]),
        ("element", [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
    ],
)
def test_repeat_takes_a_tokenpacker_and_repeats_its_tokens(order, pattern):
    packer, repeated, f = (
        make_projector("tokenpacker", 4),
        make_projector("repeat", 12, order=order),
        make_features(),
    )
    assert repeated.placeholders == 12
    repeated.load_state_dict(packer.state_dict())
    with torch.no_grad():
        assert torch.equal(repeated(f), packer(f)[:, pattern])
