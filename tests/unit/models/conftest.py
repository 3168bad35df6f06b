"""Small tokenizers of the form of Qwen's and Vicuna's."""

import pytest

from tests.support import lookalikes


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "qwen": lookalikes.qwen(folder / "qwen"),
        "vicuna": lookalikes.vicuna(folder / "vicuna"),
        "vicuna_legacy": lookalikes.vicuna(folder / "legacy", legacy=True),
    }
