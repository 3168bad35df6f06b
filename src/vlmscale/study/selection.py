"""Which cells a law is about. Planning and analysis share this; it needs no pandas."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# The training budget of an unchanged stage2; no config has to define it.
FULL = "full"
# The families of benchmarks whose mean error has a law. VizWiz and VQAv2 belong to no suite.
SUITES = ("reasoning", "ocr")
# The most visual tokens of the table that says where one token stands.
FEW_TOKENS = 4
# How questions of the released scores were put; inferred, not stated (docs/benchmarks.md).
RELEASED_PROTOCOL = "lmms"
# What N counts: the size in the LLM's name, all parameters, or those without embeddings and head.
SizeAxis = Literal["nominal", "total", "non_embedding"]


@dataclass(frozen=True)
class Selection:
    """The cells of some methods at one training budget."""

    methods: tuple[str, ...]
    budget: str = FULL


Series = Mapping[str, Selection]  # name of a law -> its cells


def append_budget(name: str, budget: str, separator: str) -> str:
    """Return `name`, followed by the budget unless that is full."""
    return name if budget == FULL else f"{name}{separator}{budget}"


def group_budgets(series: Series, samples: Mapping[str, float]) -> dict[str, tuple[Selection, ...]]:
    """Return series -> its laws' cells at each training budget, of those whose budgets differ in samples.

    series: by the names of laws, which end in the budget unless that is full. samples: of each budget,
    which may also differ in something else, such as the learning rate.
    """
    groups: dict[str, list[Selection]] = {}
    for name, selection in series.items():
        whole = name if selection.budget == FULL else name.removesuffix(f"_{selection.budget}")
        groups.setdefault(whole, []).append(selection)
    return {
        name: tuple(laws)
        for name, laws in groups.items()
        if len({samples[law.budget] for law in laws}) > 1
    }
