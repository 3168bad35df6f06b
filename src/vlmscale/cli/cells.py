"""`vlmscale cells`: what a study will train, about what that costs, and what of it is done."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from vlmscale.cli.output import Report, number, table
from vlmscale.costs.cluster import Cluster
from vlmscale.costs.gpus import Gpu, load_gpus
from vlmscale.errors import UserError
from vlmscale.planning.sizing import TrainingSize, size_trainings
from vlmscale.planning.trainings import (
    Assumptions,
    RunCost,
    Training,
    estimate_features_gb,
    estimate_runs,
    read_benchmark_rows,
)
from vlmscale.resources import find_resource
from vlmscale.study.load import load_study

_UNITS = (("B", 1e9), ("M", 1e6), ("K", 1e3), ("", 1))
_SHOWN = 3  # of what does not fit


def plan(
    config: Path,
    results: Path,
    assumed: Assumptions,
    *,
    gpu: str | None,
    utilisation: float | None,
) -> Report:
    """Return costs, GPUs and state of every training run of a study, and their totals.

    A stage 1 that runs share is counted with the first of them. results: folder of all studies' results.
    gpu: row of resources/gpus.csv instead of the GPUs of the study's `cluster`; utilisation: share of the
    peak that a training reaches, by default the row's, else the cluster's. Raises UserError for an unknown
    GPU or a wrong config.
    """
    study = load_study(config)
    chosen = _gpu_of(study.cluster) if gpu is None else _find_gpu(gpu)
    cluster = study.cluster.model_copy(
        update={
            "gpu_memory_gb": chosen.memory_gb,
            "tflops": chosen.bf16_tflops,
            "utilisation": utilisation or chosen.utilisation or study.cluster.utilisation,
        }
    )
    study = study.model_copy(update={"cluster": cluster})
    questions = study.count_questions(read_benchmark_rows(find_resource("benchmarks.csv")))
    costs = estimate_runs(study, questions, assumed)
    sizes = size_trainings(study, [cost.run for cost in costs], assumed)
    folder = results / study.study
    rows = [
        _row(cost, cluster, sizes["stage2", cost.run.run], _done(folder, cost.trainings))
        for cost in costs
    ]
    summed = ("stage1_flops", "stage2_flops", "evaluation_flops", "gpu_hours", "gpu_hours_left")
    cells = [cell for cost in costs for cell in cost.cells]
    refused = dict.fromkeys(str(size) for size in sizes.values() if isinstance(size, UserError))
    return {
        "study": study.study,
        "assumed": {**vars(assumed), "utilisation": cluster.utilisation},
        "gpu": vars(chosen),
        "questions": questions,
        "runs": rows,
        "totals": {
            "runs": len(rows),
            "cells": len(cells),
            "trainings": sum(len(row["trainings"]) for row in rows),
            "done": sum(len(row["done"]) for row in rows),
            "evaluated": sum(
                (folder / "cells" / cell / "scores.parquet").exists() for cell in cells
            ),
            **{key: sum(row[key] for row in rows) for key in (*summed, "disk_gb")},
            "features_gb": estimate_features_gb(study),
            "work_gb": max(row["work_gb"] for row in rows),
        },
        "too_large": list(refused),
    }


def _row(
    cost: RunCost, cluster: Cluster, size: TrainingSize | UserError, done: list[Training]
) -> Report:
    """Return what the report says of a run; size: of its stage 2."""
    flops = {training.stage: training.flops for training in cost.trainings}
    left = cost.training_flops - sum(training.flops for training in done)
    job = None if isinstance(size, UserError) else cluster.request(size.gpus, size.hours, 0)
    return {
        **vars(cost.run),
        "cells": list(cost.cells),
        "parameters": cost.parameters,
        "total_parameters": cost.total_parameters,
        "projector_parameters": cost.projector_parameters,
        "stage1_flops": flops.get("stage1", 0.0),
        "stage2_flops": flops["stage2"],
        "evaluation_flops": cost.evaluation_flops,
        "gpu_hours": cluster.gpu_hours(cost.training_flops),
        "gpu_hours_left": cluster.gpu_hours(left),
        "gpus": job and job.gpus,
        "nodes": job and job.nodes,
        "disk_gb": cost.disk_gb,
        "work_gb": cost.work_gb,
        "done": [training.stage for training in done],
        "trainings": [training.stage for training in cost.trainings],
    }


def _done(folder: Path, trainings: Iterable[Training]) -> list[Training]:
    """Return the trainings whose record lies in the folder of a study's results."""
    return [t for t in trainings if (folder / "runs" / t.run / t.stage / "run.json").exists()]


def show(console: Console, report: Report) -> None:
    """Print the report of `plan` as a table and what it means."""
    groups: dict[tuple[str, ...], list[Report]] = {}
    for row in report["runs"]:
        key = (row["llm"], row["method"], str(row["visual_tokens"]), row["budget"])
        groups.setdefault(key, []).append(row)
    several = len({row["budget"] for row in report["runs"]}) > 1
    columns = ["LLM", "N", "method", "V", *["budget"] * several, "runs", "FLOPs", "GPU hours"]
    columns += ["GPUs", "GB", "done"]
    rows = [
        [
            llm,
            _size(row["parameters"]),
            method,
            visual_tokens,
            *[budget] * several,
            str(len(group)),
            number(row["stage1_flops"] + row["stage2_flops"], 2),
            number(row["gpu_hours"], 3),
            str(row["gpus"] or "–"),
            number(row["disk_gb"], 2),
            f"{sum(len(r['done']) for r in group)}/{sum(len(r['trainings']) for r in group)}",
        ]
        for (llm, method, visual_tokens, budget), group in groups.items()
        for row in group[:1]
    ]
    title = f"{report['study']}: training runs, one row for all seeds; numbers are of one run"
    console.print(table(title, columns, rows, words=["LLM", "method", "budget"]))
    totals, assumed, gpu = report["totals"], report["assumed"], report["gpu"]
    training = totals["stage1_flops"] + totals["stage2_flops"]
    console.print(
        f"{totals['runs']} runs serve {totals['cells']} cells: {number(training, 3)} FLOPs of training, "
        f"{number(totals['gpu_hours'], 4)} GPU hours; {number(totals['evaluation_flops'], 3)} FLOPs for "
        f"{sum(report['questions'].values()):,} questions a cell. A stage 1 that runs share is counted "
        f"once. Results take {number(totals['disk_gb'], 4)} GB, stored features "
        f"{number(totals['features_gb'], 3)} GB, and each running training up to "
        f"{number(totals['work_gb'], 3)} GB of checkpoints."
    )
    console.print(
        f"Done: {totals['done']} of {totals['trainings']} trainings, {totals['evaluated']} of "
        f"{totals['cells']} cells evaluated; {number(totals['gpu_hours_left'], 4)} GPU hours of training "
        "are left."
    )
    for words in report["too_large"][:_SHOWN]:
        console.print(f"Does not fit {gpu['name']}: {words}", style="red")
    if report["too_large"][_SHOWN:]:
        console.print(
            f"{len(report['too_large']) - _SHOWN} more do not fit; --json names them.", style="red"
        )
    known = "known" if assumed["utilisation"] == gpu["utilisation"] else "assumed"
    console.print(
        f"Estimates for {gpu['name']} at {assumed['utilisation']:.0%} ({known}) of its "
        f"{gpu['bf16_tflops']:g} TFLOP/s; {assumed['text_tokens']} text tokens a training sample where its "
        f"dataset does not say, {assumed['question_tokens']} a question, {assumed['answer_tokens']} an "
        "answer. N: parameters without embedding and head. FLOPs: every matrix product of both trainings, "
        "forward and back, of tower (unless its features are stored), projector and LLM. Not counted: the "
        "head of an LLM that the study makes, training the backbones, recomputed activations. V of an "
        "elastic method: its largest. GPUs: what the job of stage 2 requests. GB: what is kept of a run."
    )


def _find_gpu(name: str) -> Gpu:
    gpus = load_gpus(find_resource("gpus.csv"))
    if name not in gpus:
        raise UserError(
            f"no GPU {name!r} in resources/gpus.csv. There are: {', '.join(gpus)}. Add a row for yours, or "
            "leave out --gpu and describe it in the study's `cluster`."
        )
    return gpus[name]


def _gpu_of(cluster: Cluster) -> Gpu:
    return Gpu(
        gpu="cluster",
        name="a GPU of the study's `cluster`",
        bf16_tflops=cluster.tflops,
        memory_gb=cluster.gpu_memory_gb,
        utilisation=cluster.utilisation,
        source="the study's config",
    )


def _size(parameters: int) -> str:
    """Write a number of parameters: 27K, 308M, 12.6B."""
    unit, scale = next((u, s) for u, s in _UNITS if parameters >= s)
    return f"{parameters / scale:.3g}{unit}"
