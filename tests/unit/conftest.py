"""Fixtures of several rooms' tests."""

import io

import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture
def spec(backbones, splits, tmp_path):
    """spec(name, **changes) -> a stage-2 spec that trains from pixels into tmp_path/name."""
    from tests.support.trainings import stage_spec

    return lambda name, **changes: stage_spec(backbones, splits, tmp_path / name, **changes)


@pytest.fixture(scope="session")
def images(splits):
    """Three images of the small generated world."""
    rows = pq.read_table(splits["test"] / "exist.parquet").to_pylist()[:3]
    return [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows]
