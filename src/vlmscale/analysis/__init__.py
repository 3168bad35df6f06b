"""Fit laws of error against LLM size and visual tokens, test them, and choose models by them.

Each name below is imported on first access. None needs torch.
"""

import importlib
from typing import Any

# Strings instead of imports: jobs/fingerprint.py hashes, for every job, all that this file imports.
_NAMES = {
    "checks.audit.evidence": ("load_evidence",),
    "checks.audit.run": ("audit",),
    "checks.learning": ("check_learning",),
    "comparisons.paired": ("compare_methods",),
    "comparisons.suites": ("correct_for_chance", "leave_one_out"),
    "comparisons.table1": ("count_wins", "measure_gaps", "pivot_scores"),
    "decisions.recommend": ("interpolate_cost", "rank_choices"),
    "laws.bootstrap": ("bootstrap", "summarize_draws"),
    "laws.forms": ("compare_forms",),
    "laws.frontier": ("pareto_envelope", "pareto_front"),
    "laws.grid_search": ("grid_search",),
    "laws.optimum": ("crossover", "flat_range", "optimal_tokens"),
    "laws.power_law": ("PowerLaw", "fit_power_law", "profile_floor"),
    "laws.robust": ("fit_robust",),
    "laws.standard_errors": ("delta_method", "jackknife"),
    "laws.variants": ("fit_variants",),
    "published": ("load_published_errors",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
