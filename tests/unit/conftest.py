"""Fixtures of several rooms' tests."""

import pytest


@pytest.fixture
def spec(backbones, splits, tmp_path):
    """spec(name, **changes) -> a stage-2 spec that trains from pixels into tmp_path/name."""
    from tests.support.trainings import stage_spec

    return lambda name, **changes: stage_spec(backbones, splits, tmp_path / name, **changes)
