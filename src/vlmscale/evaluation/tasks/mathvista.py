"""MathVista by rules: lmms-eval's prompt and its comparison of answers, but no judge between them."""

import ast
import os
import re
import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch

from PIL import Image

_NUMBER = re.compile(r"(?<!\d)-?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
# An option's letter: alone, in brackets, before its text, or announced.
_LETTERS = (
    re.compile(r"^\(?([A-Za-z])\)?[.:)]?$"),
    re.compile(r"\(([A-Z])\)"),
    re.compile(r"^([A-Z])[.:)]\s"),
    re.compile(r"\b(?:[Aa]nswer|[Oo]ption|[Cc]hoice)(?: is|:)?\s*\(?([A-Z])\b"),
)


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

    kind: the dataset's answer_type. A choice gives its letter in brackets, several numbers the last one.
    """
    answer = answer.strip()
    if kind == "text":
        letter = _letter(answer, choices)
        return None if letter is None else f"({letter})"
    if kind == "list":
        found = re.findall(r"\[[^\[\]]*\]", answer)
        try:
            return str(ast.literal_eval(found[-1])) if found else None
        except (SyntaxError, ValueError):
            return None
    numbers = _NUMBER.findall(answer)
    return numbers[-1].replace(",", "") if numbers else None


def _letter(answer: str, choices: list[str]) -> str | None:
    letters = [chr(ord("A") + i) for i in range(len(choices))]
    same = [a for a, c in zip(letters, choices, strict=True) if c.lower() == answer.lower()]
    if len(same) == 1:
        return same[0]
    for pattern in _LETTERS:
        named = {letter.upper() for letter in pattern.findall(answer)} & set(letters)
        if named:
            return named.pop() if len(named) == 1 else None
    return None


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
