"""Inference scaling laws of vision-language models: LLM size against visual tokens.

The names below are imported when they are first used; none but load_model needs torch.
"""

import importlib
import importlib.metadata
from typing import Any

# Strings, no imports: jobs/fingerprint.py follows the imports of this file for every job.
_MODULES = {
    "UserError": "vlmscale.errors",
    "audit": "vlmscale.cli.audit",
    "fit_power_law": "vlmscale.analysis.laws.power_law",
    "load_model": "vlmscale.evaluation.load",
    "load_study": "vlmscale.study.load",
    "recommend": "vlmscale.cli.recommend",
}
__all__ = [
    "UserError",
    "__version__",
    "audit",
    "fit_power_law",
    "load_model",
    "load_study",
    "recommend",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("vlmscale")
    if name not in _MODULES:
        raise AttributeError(f"module 'vlmscale' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
