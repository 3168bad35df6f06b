"""POPE by lmms-eval's rules and by LLaVA's (see pope.yaml)."""

from collections import defaultdict
from statistics import mean
from typing import Any

from lmms_eval.tasks.pope import utils


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Return lmms-eval's own record (yes, no or neither) and LLaVA's reading (always yes or no)."""
    found = utils.pope_process_results(doc, results)
    item = found["pope_f1_score"]
    read = {
        "category": doc["category"],
        "prediction": read_as_llava(results[0]),
        "ground_truth": item["ground_truth"],
    }
    read["score"] = float(read["prediction"] == read["ground_truth"])
    return {**found, "pope_mean_f1": read, "parsed": item["prediction"] in ("yes", "no")}


def read_as_llava(answer: str) -> str:
    """Read an answer as LLaVA's script does: "no" if its first sentence denies, else "yes"."""
    words = answer.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def mean_f1(results: list[dict[str, Any]]) -> float:
    """Average the F1 of each category (random, popular, adversarial)."""
    categories = defaultdict(list)
    for result in results:
        categories[result["category"]].append(result)
    return mean(map(utils.pope_aggregate_f1_score, categories.values()))
