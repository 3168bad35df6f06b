"""The spec of an evaluation of a released VLM. Needs no torch."""

from pathlib import Path
from typing import Any

from vlmscale.evaluation.spec import Benchmark, Protocol
from vlmscale.settings import Frozen
from vlmscale.settings.vlms import VlmFamily


class VlmEvaluationSpec(Frozen):
    """One cell: a released VLM at a budget of visual tokens of an image."""

    model: Path
    data: Path
    benchmarks: tuple[Benchmark, ...]
    protocol: Protocol
    family: VlmFamily
    budget: int
    cell: dict[str, Any]
    fingerprint: str
    samples: Path
    scores: Path
