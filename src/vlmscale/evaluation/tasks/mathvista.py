"""MathVista by rules: lmms-eval's prompt and its comparison of answers, but no judge between them."""

import os
import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch

from PIL import Image

from vlmscale.evaluation.answers import read_choice, read_list, read_number


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    return [doc["decoded_image"].convert("RGB")]


def doc_to_text(doc: dict[str, Any]) -> str:
    problem = {**doc, "caption": "", "ocr": ""}
    return str(load_evaluator().create_one_query(problem, shot_type="format-prompt"))


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """accuracy: whether the answer equals the target. An answer that the rules cannot read is wrong."""
    extracted = extract(results[0], doc["answer_type"], doc["choices"] or [])
    right = False
    if extracted is not None:
        evaluator = load_evaluator()
        answer = evaluator.normalize_extracted_answer(
            extracted,
            doc["choices"],
            doc["question_type"],
            doc["answer_type"],
            int(doc["precision"] or 0),  # a float in the dataset, which round() would refuse
        )
        right = evaluator.safe_equal(answer, doc["answer"])
    return {"accuracy": float(right), "parsed": extracted is not None}


def extract(answer: str, kind: str, choices: list[str]) -> str | None:
    """Read an answer into the form of lmms-eval's comparison; None if no rule can read it.

    kind: the dataset's answer_type. A choice gives its letter in brackets.
    """
    if kind == "text":
        letter = read_choice(answer, choices)
        return None if letter is None else f"({letter})"
    if kind == "list":
        return read_list(answer)
    return read_number(answer, fractions=kind == "float")


@cache
def load_evaluator() -> Any:
    """Import lmms-eval's evaluator of MathVista.

    Its module needs an edit distance and a judge when imported. Neither is used: an answer that the rules
    cannot read is wrong.
    """
    import_module("lmms_eval.llm_judge")  # here, so that it outlives the patches
    distance = ModuleType("Levenshtein")
    vars(distance)["distance"] = None
    with (
        patch.dict(sys.modules, {"Levenshtein": distance}),
        patch.dict(os.environ, {"API_TYPE": "dummy"}),
    ):
        from lmms_eval.tasks.mathvista.mathvista_evals import MathVistaEvaluator
    return MathVistaEvaluator()
