"""Inference scaling laws of vision-language models: LLM size against visual tokens.

The names in __init__.pyi are imported when they are first used; none but load_model needs torch.
"""

import ast
import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any


def attach_stub(
    package: str, file: str
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return __all__, __getattr__ and __dir__ of a package: the names that its __init__.pyi imports.

    file: its __init__.py, which imports none of them: jobs/fingerprint.py hashes, for every job, all that
    it imports.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_bytes())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: str(node.module) for node in imports for alias in node.names}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    def list_names() -> list[str]:
        module = importlib.import_module(package)
        return sorted({*vars(module), *module.__all__})

    return list(modules), load, list_names


_names, _load, __dir__ = attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __getattr__(name: str) -> Any:
    return importlib.metadata.version("vlmscale") if name == "__version__" else _load(name)
