"""The jobs of a study that evaluates released VLMs: specs, requests and costs of each.

The counterpart of specs.py, requests.py and trainings.py for studies without trainings.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlmscale.costs.cluster import Request
from vlmscale.costs.image_tokens import IMAGE_TOKENS
from vlmscale.planning.specs import (
    ANALYSIS_STACK,
    EVALUATION_STACK,
    Spec,
    hash_evaluation,
    hash_script,
)
from vlmscale.planning.trainings import ASSUMED, Assumptions
from vlmscale.settings import Stage
from vlmscale.study.evaluated import EvaluatedStudy
from vlmscale.study.grid import Cell, Run

# To prepare an image and start a pass for one question; an assumption on the long side.
_QUESTION_SECONDS = 0.5


@dataclass(frozen=True)
class AnswerFlops:
    """FLOPs of one answer at a budget of visual tokens, which its image may not need."""

    tower: float
    llm: float


def estimate_model_answer(
    study: EvaluatedStudy, cell: Cell, assumed: Assumptions = ASSUMED
) -> AnswerFlops:
    """Return the FLOPs of an answer of a cell's model to one benchmark question, at most."""
    decoder, text = study.decoders[cell.llm], assumed.question_tokens
    passes = IMAGE_TOKENS[study.models[cell.llm].family].list_passes(cell.visual_tokens)
    prefill = decoder.prefill(cell.visual_tokens, text)
    decode = decoder.decode(cell.visual_tokens + text, assumed.answer_tokens)
    tower = study.towers[cell.llm].gflops(passes, decoder.hidden_size)
    return AnswerFlops(1e9 * tower, 1e9 * (prefill.total + decode.total))


def request_model_evaluation(study: EvaluatedStudy, cell: Cell, questions: int) -> Request:
    """Return the request of a cell's answers: one GPU."""
    flops = estimate_model_answer(study, cell)
    hours = study.cluster.gpu_hours(questions * (flops.tower + flops.llm))
    billions = study.decoders[cell.llm].total_b + study.towers[cell.llm].total_b
    return Request(study.cluster, 1, hours + questions * _QUESTION_SECONDS / 3600, 1e9 * billions)


class ModelSpecs:
    """The jobs of one study without trainings, with the names of JobSpecs that shared rules read."""

    def __init__(self, study: EvaluatedStudy, scripts: Path) -> None:
        """List the cells of `study`. scripts: the folder of the workflow's scripts. Raises UserError."""
        self.study = study
        self.scripts = scripts
        self.out, self.work = f"results/{study.study}", f"work/{study.study}"
        self.cells, self.laws = study.list_cells(), study.list_laws()
        self.runs: dict[str, Run] = {}
        self.trainings: dict[Stage, dict[str, Run]] = {"stage1": {}, "stage2": {}}

    def model_of(self, cell: str) -> str:
        """Return the folder of a cell's model."""
        return f"{self.out}/models/{self.cells[cell].llm}"

    def evaluation_spec(self, name: str) -> Spec:
        """Return what decides the answers of a cell."""
        cell = self.cells[name]
        return {
            "cell": asdict(cell),
            "family": cell.method,
            "budget": cell.visual_tokens,
            "protocol": self.study.evaluation.protocol,
            "fingerprint": self.evaluation_fingerprint(),
        }

    def sizes(self) -> dict[str, dict[str, float]]:
        """Return billions of parameters by what N counts, of each model's LLM, and of its tower."""
        decoders = self.study.decoders.items()
        return {
            "non_embedding": {name: shape.non_embedding_b for name, shape in decoders},
            "total": {name: shape.total_b for name, shape in decoders},
            "tower": {name: tower.total_b for name, tower in self.study.towers.items()},
        }

    def hash_code(
        self, script: str, *modules: str, packages: Iterable[str] = ANALYSIS_STACK
    ) -> str:
        """Return the fingerprint of a script, of `modules` that it starts by name, and of `packages`."""
        return hash_script(self.scripts / script, modules, tuple(packages))

    def evaluation_fingerprint(self) -> str:
        """Return the fingerprint of the code that answers a cell's questions."""
        module = "vlmscale.evaluation.evaluate_vlm"
        script = self.scripts / "evaluate_vlm.py"
        return hash_evaluation(script, frozenset({module}), (*EVALUATION_STACK, "qwen-vl-utils"))

    def result_fingerprints(self) -> dict[str, Any]:
        """Return {cell: fingerprint} of everything that results are collected from."""
        return dict.fromkeys(self.cells, self.evaluation_fingerprint())
