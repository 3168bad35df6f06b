"""Evaluate one checkpoint on a study's benchmarks through lmms-eval."""

import json
import math
import os
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from numbers import Real
from pathlib import Path
from typing import Any

import lmms_eval.tasks
import pandas as pd
import torch
import yaml
from lmms_eval.api.model import lmms
from tenacity import RetryError

from vlmscale.data.shards import list_shards
from vlmscale.errors import UserError
from vlmscale.evaluation.adapter import VlmScale
from vlmscale.evaluation.questions import arrow_folder, write_arrow
from vlmscale.evaluation.spec import Benchmark, EvaluationSpec, Protocol
from vlmscale.models.checkpoint import use_setting
from vlmscale.records.parquet import write_parquet

TASKS = Path(__file__).parent / "tasks"
_UPSTREAM = Path(lmms_eval.tasks.__file__).parent
# As on lmms-eval's command line: scoring reads no image, and files of results go to the working directory.
_LMMS_OPTIONS = Namespace(process_with_media=False, output_path=None, reasoning_tags=None)


def evaluate(spec: EvaluationSpec) -> None:
    """Answer every question of `spec.benchmarks` and write two tables.

    samples and scores: as of `ask`, of all benchmarks.
    Raises UserError when a split or the checkpoint is damaged, when the latter was trained otherwise than
    `spec` says, or when lmms-eval lost a question.
    """
    files = benchmark_files(spec.benchmarks, spec.data)
    model = _load(spec)
    frames, rows = [], []
    for asked in spec.benchmarks:
        samples, row = ask(model, asked, files[asked.benchmark], spec.protocol, spec.batch_size)
        frames.append(samples)
        rows.append(row)
    provenance = {"cell": spec.cell, "fingerprint": spec.fingerprint, "protocol": spec.protocol}
    write_parquet(spec.samples, pd.concat(frames, ignore_index=True), provenance)
    write_parquet(spec.scores, pd.DataFrame(rows), provenance)


def benchmark_files(benchmarks: Sequence[Benchmark], data: Path) -> dict[str, list[Path]]:
    """By benchmark the Parquet files with its questions, checked against their manifests."""
    checked: dict[Path, list[Path]] = {}
    found = {}
    for asked in benchmarks:
        folder = asked.folder(data)
        if folder not in checked:
            # Downloads were read when they were sealed, and can be of many GB.
            checked[folder] = list_shards(folder, checksum=asked.dataset is None)
        found[asked.benchmark] = [f for f in checked[folder] if fnmatch(f.name, asked.files)]
        if not found[asked.benchmark]:
            raise UserError(
                f"evaluation.benchmarks: {folder} has no {asked.files}, the questions of "
                f"{asked.benchmark}. There are: {', '.join(f.stem for f in checked[folder])}."
            )
        arrow = arrow_folder(folder, asked.split)
        if asked.dataset and not arrow.exists():
            raise UserError(
                f"{arrow}, which lmms-eval reads, is missing. Make it: "
                f"python -m vlmscale.evaluation.fetch {data} {asked.benchmark}"
            )
    return found


def ask(
    model: lmms, asked: Benchmark, files: Sequence[Path], protocol: Protocol, batch_size: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The questions of one benchmark, from `files`, answered by `model` and scored by lmms-eval's task.

    Samples: one row a question that counts for the metric: benchmark, id, question, target, answer, score
    (how right that answer is, in [0, 1]), parsed (whether a rule made out what it says; missing where the
    task has no such rule). And the row of the scores table: benchmark, family, metric, score (the
    metric, in [0, 1]: not always the mean over questions, see docs/benchmarks.md), n, chance, unparsed
    (share of answers that no rule made out), details (JSON: every number that the task reports).
    """
    results, records = _run_task(model, asked, files, protocol, batch_size)
    samples = _samples(asked, records)
    lacking = [name for name in asked.metrics if name not in results]
    if lacking:
        raise UserError(
            f"{asked.benchmark}: task {asked.task} reports no {', '.join(lacking)}, only "
            f"{', '.join(results)}. Correct column metric of resources/benchmarks.csv."
        )
    return samples, {
        "benchmark": asked.benchmark,
        "family": asked.family,
        "metric": asked.metric,
        "score": sum(results[name] for name in asked.metrics) / asked.highest,
        "n": len(samples),
        "chance": asked.chance,
        "unparsed": 1 - samples["parsed"].mean() if samples["parsed"].notna().any() else None,
        "details": json.dumps(results, sort_keys=True),
    }


def _load(spec: EvaluationSpec) -> VlmScale:
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    model = VlmScale(spec.model, batch_size=spec.batch_size, features=spec.features)
    found = model.model.config.setting
    if found != spec.trained:
        raise UserError(
            f"{spec.model} was trained with {found}, not with {spec.trained}. Train it again."
        )
    if spec.evaluated != spec.trained:
        use_setting(model.model, model.processor, spec.evaluated)
    return model


def _layers(task: str, protocol: Protocol) -> list[str]:
    """The files that define a task, the first one with a key decides: protocol, ours, lmms-eval's."""
    files = [
        TASKS / protocol / f"{task}.yaml",
        TASKS / f"{task}.yaml",
        *_UPSTREAM.glob(f"*/{task}.yaml"),
    ]
    return [str(file) for file in files if file.exists()]


def _run_task(
    model: lmms, asked: Benchmark, files: Sequence[Path], protocol: Protocol, batch_size: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The numbers that lmms-eval reports, by metric, and its record of each question."""
    from lmms_eval import evaluator
    from lmms_eval.tasks import TaskManager

    name = f"vlmscale_{asked.benchmark}"
    layers = _layers(asked.task, protocol)
    if not layers:
        raise UserError(f"{asked.benchmark}: neither lmms-eval nor {TASKS} has a task {asked.task}")
    source = files[0].parent.resolve()
    with tempfile.TemporaryDirectory() as folder:
        # Of a download there is one, for all evaluations; of generated questions it is made in no time.
        arrow = arrow_folder(source, asked.split)
        if not asked.dataset:
            arrow = Path(folder, "arrow")
            write_arrow(files, asked.split, arrow)
        # Generated here, because it holds paths of this machine; the layers have the rest.
        config = {
            "include": layers,
            "task": name,
            "dataset_path": str(arrow),
            "dataset_name": None,
            "dataset_kwargs": {"load_from_disk": True},
        }
        Path(folder, f"{name}.yaml").write_text(yaml.safe_dump(config))
        # For a task that reads two folders of its dataset.
        Path(folder, "dataset").symlink_to(source.parent)
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
                f"{asked.benchmark}: task {asked.task} cannot read or score {source} ({cause!r}). Does "
                "the folder hold the dataset that resources/benchmarks.csv names?"
            ) from cause
        finally:
            os.chdir(before)
    records: list[dict[str, Any]] = results["samples"][name]
    expected = results["n-samples"][name]["effective"]
    if len(records) != expected:
        raise UserError(
            f"{asked.benchmark}: lmms-eval returned {len(records)} of {expected} questions"
        )
    numbers = {
        key.partition(",")[0]: float(value)
        for key, value in results["results"][name].items()
        if "_stderr" not in key and isinstance(value, Real) and math.isfinite(value)
    }
    return numbers, sorted(records, key=lambda record: int(record["doc_id"]))


def _samples(asked: Benchmark, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    # A metric may be about some of the questions only, as that of MME's perception.
    mine = [record for record in records if any(name in record for name in asked.metrics)]
    table = pd.DataFrame(
        {
            "benchmark": asked.benchmark,
            "id": [str(r["doc"][asked.id] if asked.id else r["doc_id"]) for r in mine],
            "question": [str(record["doc"]["question"]) for record in mine],
            "target": [str(record["target"]) for record in mine],
            "answer": [str(record["resps"][0][0]) for record in mine],
            "score": [_score(asked, record) for record in mine],
            "parsed": pd.array([record.get("parsed") for record in mine], dtype="boolean"),
        }
    )
    if not table["id"].is_unique:
        raise UserError(f"{asked.benchmark}: column {asked.id} does not tell its questions apart")
    return table


def _score(asked: Benchmark, record: Mapping[str, Any]) -> float:
    """How right an answer is: what our own tasks call `score`, or what the metric averages."""
    value = record.get("score", next(record[name] for name in asked.metrics if name in record))
    return float(value["score"] if isinstance(value, dict) else value)
