"""Loads released modules from checkouts, which are never part of this repository."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest


class _Stub(ModuleType):
    """Stands for a package that the module under test imports but does not need."""

    __path__ = ()

    def __getattr__(self, name):
        return MagicMock(name=name)


@pytest.fixture
def released(monkeypatch):
    """released(repository, path, stubs) -> that file as a module, imported with `stubs` for packages."""
    folder = os.environ.get("VLMSCALE_REFERENCE_DIR")
    if folder is None:
        pytest.skip("VLMSCALE_REFERENCE_DIR names no folder of checkouts of the released code")

    def load(repository, path, stubs=()):
        file = Path(folder, repository, path)
        if not file.is_file():
            pytest.skip(f"no {file}")
        with monkeypatch.context() as patch:
            for name in stubs:
                patch.setitem(sys.modules, name, _Stub(name))
            spec = importlib.util.spec_from_file_location(f"released_{file.stem}", file)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return module

    return load
