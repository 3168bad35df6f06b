"""What a finished study found, in sentences for a reader who knows neither the paper nor its symbols."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vlmscale.cli.output import number

_TASKS = {"reasoning": "Reasoning about images", "ocr": "Reading text in images"}
_MOST = 3


def describe_findings(
    laws: Sequence[Mapping[Any, Any]], verdicts: pd.DataFrame, sanity: pd.DataFrame
) -> list[str]:
    """Return up to three sentences: one for each family of the first series, and one about the hypotheses.

    The first series is taken at its full training budget. laws: rows of laws.parquet with intervals of the
    ratio. verdicts, sanity: the study's tables, empty where no hypotheses were written for it.
    """
    # A law of a shorter training budget is called as that of the full one, and its budget.
    names = [str(law["series"]) for law in laws]
    full = (name for name in names if not any(name.startswith(f"{other}_") for other in names))
    first = next(full, None)
    found = [_describe_law(law) for law in laws if law["series"] == first]
    return found[: _MOST - 1] + ([] if verdicts.empty else [_describe_verdicts(verdicts, sanity)])


def _describe_law(law: Mapping[Any, Any]) -> str:
    larger, more = (100 * (1 - 2.0 ** -law[name]) for name in ("alpha", "beta"))
    low, high = law["ratio_low"], law["ratio_high"]
    if low > 1:
        then = "so a larger LLM pays more than more visual tokens"
    elif high < 1:
        then = "so more visual tokens pay more than a larger LLM"
    else:
        then = "but which of the two pays more is not certain with these models"
    floor = f" (what is above {number(law['floor'], 2)} of it)" if law["floor"] > 0 else ""
    task = _TASKS.get(law["family"], str(law["family"]))
    return (
        f"{task}: an LLM of twice the size lowers the error{floor} by {number(larger, 2)} %, twice the "
        f"visual tokens an image by {number(more, 2)} %, {then}."
    )


def _describe_verdicts(verdicts: pd.DataFrame, sanity: pd.DataFrame) -> str:
    counts = verdicts["verdict"].value_counts()
    words = [
        f"{counts[verdict]} {verdict}"
        for verdict in ("supported", "contradicted", "undecided", "not tested")
        if verdict in counts
    ]
    failed = int((~sanity["holds"]).sum())
    learned = (
        f"all {len(sanity)} checks that the models learned hold"
        if not failed
        else f"{failed} of {len(sanity)} checks that the models learned fail: trust the laws no further"
    )
    return f"Hypotheses written down before the study, case by case: {', '.join(words)}; {learned}."
