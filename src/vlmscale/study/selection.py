"""The cells that one law is about. Planning a study and analysing it share this; it needs no pandas."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FULL = "full"  # the training budget that is stage2 as it stands; no config has to define it
# Families of benchmarks whose mean error has a law. Others (VizWiz, VQAv2) belong to no suite.
SUITES = ("reasoning", "ocr")
# How the released scores' questions were put: inferred, not stated (docs/benchmarks.md).
RELEASED_PROTOCOL = "lmms"
# What N counts: the size in the LLM's name, all its parameters, those without embeddings and head.
SizeAxis = Literal["nominal", "total", "non_embedding"]


@dataclass(frozen=True)
class Selection:
    """Cells of these methods, trained with one budget."""

    methods: tuple[str, ...]
    budget: str = FULL


Series = Mapping[str, Selection]  # by the name of the law


def append_budget(name: str, budget: str, separator: str) -> str:
    """`name` for the full budget, and with the budget behind it for any other."""
    return name if budget == FULL else f"{name}{separator}{budget}"
