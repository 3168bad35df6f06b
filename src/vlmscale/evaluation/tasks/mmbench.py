"""MMBench without a judge: each rotation by lmms-eval's rules, and the prompt of LLaVA-1.5."""

from typing import Any

from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer
from lmms_eval.tasks.mmbench import en_utils


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Return lmms-eval's own record, and whether this rotation is right. The metric needs all rotations."""
    found = en_utils.mmbench_process_results(doc, results)
    item = found["gpt_eval_score"]
    judge = en_utils.mmbench_evaluator
    said = judge.prefetch_answer(item) or extract_mcq_answer(
        item["prediction"], choices=sorted(judge.build_choices(item))
    )
    return {**found, "score": float(said == doc["answer"]), "parsed": bool(said)}


def llava_doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any]) -> str:
    """Put hint, question and options on separate lines."""
    options = [f"{key}. {doc[key]}" for key in "ABCD" if doc[key] not in (None, "nan")]
    hint = [] if doc["hint"] in (None, "nan") else [doc["hint"]]
    return "\n".join([*hint, doc["question"], *options]) + lmms_eval_specific_kwargs["post_prompt"]
