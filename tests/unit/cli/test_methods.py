"""vlmscale methods."""

import pytest

from tests.support.cli import call, call_json
from vlmscale.methods import list_method_names


def test_methods_with_the_published_numbers():
    rows = {row["method"]: row for row in call_json("methods")["methods"]}
    assert set(rows) == set(list_method_names())
    assert rows["tokenpacker"]["parameters"] == 36_722_688
    assert rows["mqt"]["parameters"] == 8_660_992
    assert rows["quecc"]["gflops"] == pytest.approx(18.58, abs=0.01)
    assert (rows["mqt"]["from"], rows["mqt"]["to"]) == (1, 256)
    assert rows["prumerge"]["training"] == ["free", "trained"]
    assert rows["m3"]["served_by"] == {"elastic": ["self", "most"]}
    shown = call("methods")
    assert "elastic" in shown
    assert "arXiv" in shown
