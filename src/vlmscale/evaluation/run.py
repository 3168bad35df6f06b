"""Evaluate one model folder on a study's benchmarks through lmms-eval."""

import json
import math
import os
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lmms_eval.api.model import lmms
from tenacity import RetryError

from vlmscale.errors import UserError
from vlmscale.evaluation.adapter import VlmScale
from vlmscale.evaluation.lmms_tasks import find_question_files, write_task
from vlmscale.evaluation.spec import Benchmark, EvaluationSpec, Protocol
from vlmscale.models.checkpoint import use_setting
from vlmscale.records.parquet import write_parquet

# As on lmms-eval's command line: scoring reads no image, and result files go to the working directory.
_LMMS_OPTIONS = Namespace(process_with_media=False, output_path=None, reasoning_tags=None)


def evaluate(spec: EvaluationSpec) -> None:
    """Answer every question of `spec.benchmarks` and write two tables.

    `score_benchmark` describes the rows of samples and scores. Raises UserError when a split or the model
    folder is damaged, when the model was trained with another setting than `spec.trained`, or when
    lmms-eval lost a question.
    """
    files = find_question_files(spec.benchmarks, spec.data)
    model = _load(spec)
    results = [
        score_benchmark(model, each, files[each.benchmark], spec.protocol, spec.batch_size)
        for each in spec.benchmarks
    ]
    samples, scores = zip(*results, strict=True)
    provenance = {"cell": spec.cell, "fingerprint": spec.fingerprint, "protocol": spec.protocol}
    if spec.prompt_layout != "image_first":
        provenance["prompt_layout"] = spec.prompt_layout
    write_parquet(spec.samples, pd.concat(samples, ignore_index=True), provenance)
    write_parquet(spec.scores, pd.DataFrame(scores), provenance)


def score_benchmark(
    model: lmms, benchmark: Benchmark, files: Sequence[Path], protocol: Protocol, batch_size: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let `model` answer a benchmark's questions in `files`, scored by lmms-eval's task.

    Returns the samples, one row per question that counts for the metric: benchmark, id, question, target,
    answer, score (of that answer, in [0, 1]), parsed (whether a rule could read the answer; missing where
    the task has no such rule). And the row of the scores table: benchmark, family, metric, score (in
    [0, 1], not always the mean over questions, see docs/benchmarks.md), n, chance, unparsed (share of
    answers that no rule could read), details (JSON with every number that the task reports).
    """
    results, records = _run_task(model, benchmark, files, protocol, batch_size)
    samples = _tabulate(benchmark, records)
    if missing := [name for name in benchmark.metrics if name not in results]:
        raise UserError(
            f"{benchmark.benchmark}: task {benchmark.task} reports no {', '.join(missing)}, only "
            f"{', '.join(results)}. Correct column metric of resources/benchmarks.csv."
        )
    return samples, {
        "benchmark": benchmark.benchmark,
        "family": benchmark.family,
        "metric": benchmark.metric,
        "score": sum(results[name] for name in benchmark.metrics) / benchmark.highest,
        "n": len(samples),
        "chance": benchmark.chance,
        "unparsed": 1 - samples["parsed"].mean() if samples["parsed"].notna().any() else None,
        "details": json.dumps(results, sort_keys=True),
    }


def _load(spec: EvaluationSpec) -> VlmScale:
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    model = VlmScale(spec.model, batch_size=spec.batch_size, features=spec.features)
    setting = model.model.config.setting
    if setting != spec.trained:
        raise UserError(
            f"{spec.model} was trained with {setting}, not with {spec.trained}. Train it again."
        )
    if (layout := model.processor.prompt_layout) != spec.prompt_layout:
        raise UserError(
            f"{spec.model} was trained with prompt_layout {layout}, not {spec.prompt_layout}. "
            "Train it again."
        )
    if spec.evaluated != spec.trained:
        use_setting(model.model, model.processor, spec.evaluated)
    return model


def _run_task(
    model: lmms, benchmark: Benchmark, files: Sequence[Path], protocol: Protocol, batch_size: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return the numbers that lmms-eval reports, by metric, and its record of each question."""
    from lmms_eval import evaluator
    from lmms_eval.tasks import TaskManager

    source = files[0].parent.resolve()
    with tempfile.TemporaryDirectory() as folder:
        name = write_task(benchmark, files, protocol, Path(folder))
        before = Path.cwd()
        os.chdir(folder)  # tasks may write submission files into the working directory
        try:
            results = evaluator.simple_evaluate(
                model=model,
                tasks=[name],
                task_manager=TaskManager(
                    "ERROR", include_path=folder, include_defaults=False, model_name="vlmscale"
                ),
                batch_size=batch_size,
                log_samples=True,
                bootstrap_iters=0,
                process_docs_parallel=1,
                cli_args=_LMMS_OPTIONS,
            )
        except RetryError as error:
            cause = error.last_attempt.exception()
            raise UserError(
                f"{benchmark.benchmark}: task {benchmark.task} cannot read or score {source} ({cause!r}). "
                "Check that the folder holds the dataset that resources/benchmarks.csv names."
            ) from cause
        finally:
            os.chdir(before)
    records: list[dict[str, Any]] = results["samples"][name]
    expected = results["n-samples"][name]["effective"]
    if len(records) != expected:
        raise UserError(
            f"{benchmark.benchmark}: lmms-eval returned {len(records)} of {expected} questions. "
            "Run again; if it happens again, check the log for the lost ones."
        )
    numbers = {
        key.partition(",")[0]: float(value)
        for key, value in results["results"][name].items()
        if "_stderr" not in key and isinstance(value, Real) and math.isfinite(value)
    }
    return numbers, sorted(records, key=lambda record: int(record["doc_id"]))


def _tabulate(benchmark: Benchmark, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    # A metric may cover only some of the questions, as that of MME's perception.
    counted = [record for record in records if any(name in record for name in benchmark.metrics)]
    table = pd.DataFrame(
        {
            "benchmark": benchmark.benchmark,
            "id": [str(r["doc"][benchmark.id] if benchmark.id else r["doc_id"]) for r in counted],
            "question": [str(record["doc"]["question"]) for record in counted],
            "target": [str(record["target"]) for record in counted],
            "answer": [str(record["resps"][0][0]) for record in counted],
            "score": [_read_score(benchmark, record) for record in counted],
            "parsed": pd.array([record.get("parsed") for record in counted], dtype="boolean"),
        }
    )
    if not table["id"].is_unique:
        raise UserError(
            f"{benchmark.benchmark}: column {benchmark.id} is not unique per question. "
            "Correct column id of resources/benchmarks.csv."
        )
    return table


def _read_score(benchmark: Benchmark, record: Mapping[str, Any]) -> float:
    """Return the score of one answer: `score` in our own tasks, else what the metric averages."""
    value = record.get("score", next(record[name] for name in benchmark.metrics if name in record))
    return float(value["score"] if isinstance(value, dict) else value)
