"""Declarations read from source agree with the classes, and reading them imports no torch."""

import subprocess
import sys

import pytest

from vlmscale.errors import UserError
from vlmscale.methods import Method, method, method_names


@pytest.mark.parametrize("name", method_names())
def test_declaration_equals_class(name):
    from vlmscale.models.projectors.base import projector_class

    declared, cls = method(name), projector_class(name)
    assert (declared.needs, declared.counts) == (cls.needs, cls.counts)
    assert (declared.served_by, declared.options) == (cls.served_by, cls.options)
    assert declared.summary


def test_config_and_cells_import_no_torch():
    code = (
        "import sys; from pathlib import Path; from vlmscale.config import load_study;"
        "from vlmscale.cells import expand; expand(load_study(Path('config/smoke.yaml')));"
        "from vlmscale.fingerprint import fingerprint;"
        "fingerprint(['vlmscale.training.stages'], packages=['torch']);"
        "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_counts_and_service():
    square = Method("x", "", (), "square", None, {})
    assert square.supported(12) == [1, 4, 9, 16, 36, 144]
    assert square.supported(24) == [1, 4, 9, 16, 36, 64, 144, 576]
    assert square.trained_as(4, 12) == ("x", 4)
    assert Method("x", "", (), "full", None, {}).supported(6) == [36]
    pruned = Method("x", "", (), "square", ("mlp", "full"), {})
    assert pruned.trained_as(4, 12) == ("mlp", 144)
    repeated = Method("x", "", (), "square", ("tokenpacker", 4), {})
    assert repeated.trained_as(36, 12) == ("tokenpacker", 4)
    assert Method("x", "", (), "square", ("y", "same"), {}).trained_as(9, 12) == ("y", 9)


def test_unknown_method_lists_the_known():
    with pytest.raises(UserError, match=r"no method 'magic'.*avgpool"):
        method("magic")
