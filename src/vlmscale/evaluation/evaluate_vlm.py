"""`python -m vlmscale.evaluation.evaluate_vlm SPEC.json`: evaluate a released VLM at one budget."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from vlmscale.costs.image_tokens import IMAGE_TOKENS
from vlmscale.errors import UserError
from vlmscale.evaluation.counted_vlm import CountedVlm, Shown
from vlmscale.evaluation.lmms_tasks import find_question_files
from vlmscale.evaluation.run import score_benchmark
from vlmscale.evaluation.spec import Benchmark
from vlmscale.evaluation.vlm_adapters import ADAPTERS, open_adapter
from vlmscale.evaluation.vlm_spec import VlmEvaluationSpec
from vlmscale.images import refuse_other_formats
from vlmscale.jobs.entry import exit_with_message, read_spec_from_argv
from vlmscale.records.parquet import write_parquet


def evaluate_vlm(spec: VlmEvaluationSpec) -> None:
    """Answer every question of `spec.benchmarks` and write two tables.

    They are those of evaluation.run.evaluate with what was counted beside them. samples: visual_tokens, of
    each question. scores: of the questions with an image, visual_tokens (mean), visual_tokens_p05,
    visual_tokens_p95, and expected_tokens, the mean that the family's processor makes of these images.
    """
    files = find_question_files(spec.benchmarks, spec.data)
    refuse_other_formats()
    tokens = IMAGE_TOKENS[spec.family]
    model = CountedVlm(open_adapter(spec.family, spec.model, spec.budget), tokens, spec.budget)
    tables, rows = [], []
    for benchmark in spec.benchmarks:
        samples, scores = score_benchmark(
            model, benchmark, files[benchmark.benchmark], spec.protocol, batch_size=1
        )
        counted = _tabulate_shown(benchmark, model)
        tables.append(samples.merge(counted[["id", "counted"]], on="id", validate="one_to_one"))
        rows.append({**scores, **summarize_tokens(benchmark.benchmark, counted)})
    provenance = {
        "cell": spec.cell,
        "fingerprint": spec.fingerprint,
        "protocol": spec.protocol,
        "adapter": ADAPTERS[spec.family],
        "arguments": tokens.make_arguments(spec.budget),
    }
    answers = pd.concat(tables, ignore_index=True).rename(columns={"counted": "visual_tokens"})
    write_parquet(spec.samples, answers, provenance)
    write_parquet(spec.scores, pd.DataFrame(rows), provenance)


def summarize_tokens(benchmark: str, counted: pd.DataFrame) -> dict[str, float]:
    """Return the columns of the scores table about visual tokens.

    counted: columns images, counted, expected; one row a question. Raises UserError where no question has
    an image.
    """
    shown = counted[counted["images"] > 0]
    if shown.empty:
        raise UserError(
            f"{benchmark}: no question shows an image, so no visual tokens can be counted. Leave it out."
        )
    low, high = np.percentile(shown["counted"], [5, 95])
    return {
        "visual_tokens": float(shown["counted"].mean()),
        "visual_tokens_p05": float(low),
        "visual_tokens_p95": float(high),
        "expected_tokens": float(shown["expected"].mean()),
    }


def _tabulate_shown(benchmark: Benchmark, model: CountedVlm) -> pd.DataFrame:
    """Return id, images, counted, expected of every question of a benchmark."""
    task = f"vlmscale_{benchmark.benchmark}"
    mine: Mapping[int, Shown] = {
        n: shown for (name, n), shown in model.shown.items() if name == task
    }
    ids: Any = {}
    if benchmark.id:
        ids = model.task_dict[task][benchmark.split][benchmark.id]  # one column: decodes no image
    rows = [
        {"id": str(ids[n] if benchmark.id else n), **vars(shown)}
        for n, shown in sorted(mine.items())
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    with exit_with_message(is_job=True):
        evaluate_vlm(
            read_spec_from_argv(
                "vlmscale.evaluation.evaluate_vlm", "evaluation", TypeAdapter(VlmEvaluationSpec)
            )
        )
