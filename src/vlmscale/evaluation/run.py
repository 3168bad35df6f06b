"""Evaluate one checkpoint on a study's benchmarks through lmms-eval."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from vlmscale.data.shards import shard_files
from vlmscale.errors import UserError
from vlmscale.evaluation.adapter import VlmScale
from vlmscale.evaluation.spec import EvaluationSpec, Setting
from vlmscale.models.checkpoint import set_method
from vlmscale.tables import write_parquet

TASKS = Path(__file__).parent / "tasks"


def evaluate(spec: EvaluationSpec) -> None:
    """Answer every question of `spec.benchmarks` and write two tables.

    samples: one row a question (benchmark, id, question, target, answer, score).
    scores: one row a benchmark (benchmark, family, metric, score in [0, 1], n).
    Raises UserError when a split or the checkpoint is damaged, when the latter was trained otherwise than
    `spec` says, or when lmms-eval lost a question.
    """
    files = {file.stem: file for file in shard_files(spec.data, checksum=True)}
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    model = VlmScale(spec.model, batch_size=spec.batch_size, features=spec.features)
    config = model.model.config
    found = Setting(
        method=config.method,
        visual_tokens=config.visual_tokens,
        options=dict(config.method_options or {}),
    )
    if found != spec.trained:
        raise UserError(
            f"{spec.model} was trained with {found}, not with {spec.trained}. Train it again."
        )
    if spec.evaluated != spec.trained:
        set_method(
            model.model,
            model.processor,
            spec.evaluated.method,
            spec.evaluated.visual_tokens,
            spec.evaluated.options,
        )
    frames = []
    for asked in spec.benchmarks:
        if asked.benchmark not in files:
            raise UserError(
                f"evaluation.benchmarks: {spec.data} has no {asked.benchmark}. There are: "
                f"{', '.join(files)}."
            )
        file = files[asked.benchmark]
        answers = _run_task(model, asked.task, asked.benchmark, file, spec.batch_size)
        frames.append(_samples(answers, asked.benchmark, asked.metric, file))
    table = pd.concat(frames, ignore_index=True)
    means = table.groupby("benchmark", sort=False)["score"].agg(score="mean", n="size")
    rows = pd.DataFrame([asked.model_dump() for asked in spec.benchmarks])
    summary = rows[["benchmark", "family", "metric"]].merge(
        means.reset_index(), on="benchmark", validate="one_to_one"
    )
    provenance = {"cell": spec.cell, "fingerprint": spec.fingerprint}
    write_parquet(spec.samples, table, provenance)
    write_parquet(spec.scores, summary, provenance)


def _run_task(
    model: VlmScale, task: str, benchmark: str, file: Path, batch_size: int
) -> list[dict[str, Any]]:
    """lmms-eval's record of each question."""
    from lmms_eval import evaluator
    from lmms_eval.tasks import TaskManager

    name = f"vlmscale_{benchmark}"
    with tempfile.TemporaryDirectory() as folder:
        # Generated here, because it holds paths of this machine; the packaged file has the rest.
        config = {
            "include": str(TASKS / f"{task}.yaml"),
            "task": name,
            "dataset_kwargs": {
                "data_files": {"test": str(file.resolve())},
                "cache_dir": str(Path(folder, "arrow")),
            },
        }
        Path(folder, f"{name}.yaml").write_text(yaml.safe_dump(config))
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
            )
        finally:
            os.chdir(before)
    records: list[dict[str, Any]] = results["samples"][name]
    expected = results["n-samples"][name]["effective"]
    if len(records) != expected:
        raise UserError(f"{benchmark}: lmms-eval returned {len(records)} of {expected} questions")
    return sorted(records, key=lambda record: int(record["doc_id"]))


def _samples(
    records: list[dict[str, Any]], benchmark: str, metric: str, file: Path
) -> pd.DataFrame:
    asked = pd.read_parquet(file, columns=["id", "question"])
    return pd.DataFrame(
        {
            "benchmark": benchmark,
            "id": asked["id"].to_numpy(),
            "question": asked["question"].to_numpy(),
            "target": [str(record["target"]) for record in records],
            "answer": [str(record["filtered_resps"][0]) for record in records],
            "score": [float(record[metric]) for record in records],
        }
    )
