"""Worlds to draw from."""

import numpy as np
import pytest

from tests.support.worlds import WORLDS


@pytest.fixture(params=WORLDS)
def world(request):
    return WORLDS[request.param]


@pytest.fixture
def rng():
    return np.random.default_rng(0)
