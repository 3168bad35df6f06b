"""POPE by lmms-eval's rules and by LLaVA's (see pope.yaml)."""

from collections import defaultdict
from statistics import mean
from typing import Any

from lmms_eval.tasks.pope import utils


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """lmms-eval's own record, which knows yes and no alone, and LLaVA's reading, which knows no other."""
    found = utils.pope_process_results(doc, results)
    item = found["pope_f1_score"]
    read = {
        "category": doc["category"],
        "prediction": says(results[0]),
        "ground_truth": item["ground_truth"],
    }
    read["score"] = float(read["prediction"] == read["ground_truth"])
    return {**found, "pope_mean_f1": read, "parsed": item["prediction"] in ("yes", "no")}


def says(answer: str) -> str:
    """What LLaVA's script reads off an answer: "no" where its first sentence denies, else "yes"."""
    words = answer.partition(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def mean_f1(results: list[dict[str, Any]]) -> float:
    """The mean of the F1 of each category (random, popular, adversarial)."""
    categories = defaultdict(list)
    for result in results:
        categories[result["category"]].append(result)
    return mean(map(utils.pope_aggregate_f1_score, categories.values()))
