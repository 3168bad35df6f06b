"""Tables for the tests of commands."""

import pytest

from tests.support.cli import read_scores


@pytest.fixture
def scores():
    return read_scores()
