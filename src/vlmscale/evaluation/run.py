"""Evaluate one checkpoint on a study's benchmarks through lmms-eval."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from vlmscale.data.shards import shard_files
from vlmscale.errors import UserError
from vlmscale.evaluation.adapter import VlmScale
from vlmscale.models.checkpoint import set_method
from vlmscale.tables import write_parquet


@dataclass(frozen=True)
class Setting:
    """What a projector is built for."""

    method: str
    visual_tokens: int
    options: dict[str, str]

    def __str__(self) -> str:
        chosen = ", ".join(f"{key}: {value}" for key, value in self.options.items())
        return f"{self.method} at {self.visual_tokens} visual tokens" + f" ({chosen})" * bool(
            chosen
        )


TASKS = Path(__file__).parent / "tasks"


def evaluate(
    checkpoint: Path,
    data: Path,
    features: Path | None,
    benchmarks: pd.DataFrame,
    *,
    batch_size: int,
    samples: Path,
    scores: Path,
    cell: Mapping[str, Any],
    trained: Setting,
    evaluated: Setting,
    fingerprint: str,
) -> None:
    """Answer every question of `benchmarks` (rows of resources/benchmarks.csv) and write two tables.

    samples: one row a question (benchmark, id, question, target, answer, score).
    scores: one row a benchmark (benchmark, family, metric, score in [0, 1], n).
    The checkpoint is of a run `trained` so, and `cell` sees it `evaluated` so: the same, or a setting that
    needs no training of its own. Raises UserError when a split or the checkpoint is damaged, when the
    latter was trained otherwise, or when lmms-eval lost a question.
    """
    files = {file.stem: file for file in shard_files(data, checksum=True)}
    # Questions are short, and a job has the threads that it was given.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    model = VlmScale(checkpoint, batch_size=batch_size, features=features)
    config = model.model.config
    found = Setting(config.method, config.visual_tokens, dict(config.method_options or {}))
    if found != trained:
        raise UserError(
            f"{checkpoint} was trained with {found}, not with {trained}. Train it again."
        )
    if evaluated != trained:
        set_method(
            model.model,
            model.processor,
            evaluated.method,
            evaluated.visual_tokens,
            evaluated.options,
        )
    frames = []
    for name, task, metric in benchmarks[["benchmark", "task", "metric"]].values.tolist():
        if name not in files:
            raise UserError(
                f"evaluation.benchmarks: {data} has no {name}. There are: {', '.join(files)}."
            )
        answers = _run_task(model, task, name, files[name], batch_size)
        frames.append(_samples(answers, name, metric, files[name]))
    table = pd.concat(frames, ignore_index=True)
    means = table.groupby("benchmark", sort=False)["score"].agg(score="mean", n="size")
    summary = benchmarks[["benchmark", "family", "metric"]].merge(
        means.reset_index(), on="benchmark", validate="one_to_one"
    )
    provenance = {"cell": dict(cell), "fingerprint": fingerprint}
    write_parquet(samples, table, provenance)
    write_parquet(scores, summary, provenance)


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
