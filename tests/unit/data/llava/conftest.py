"""A server of LLaVA's released files in miniature, and what prepares them."""

import pytest

from tests.support.upstream import site
from vlmscale.data.llava import download
from vlmscale.data.llava.prepare import prepare_dataset


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    with site(tmp_path / "site") as running:
        yield running


@pytest.fixture
def run(server, tmp_path):
    """run(dataset, table, **changes) -> the manifest of tmp_path/out, made by two processes."""

    def go(dataset, table, **changes):
        settings = {"raw": tmp_path / "raw", "output": tmp_path / "out", "workers": 2}
        return prepare_dataset(dataset, table=table, **{**settings, **changes})

    return go
