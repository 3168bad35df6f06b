"""`vlmscale cells`: what a study will train, about what that costs, and what of it is done."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vlmscale.cli.output import Columns, Report, number, print_table
from vlmscale.costs.cluster import Cluster, Request
from vlmscale.costs.gpus import Gpu, load_gpus
from vlmscale.errors import UserError
from vlmscale.planning.measured import find_measured_utilisation
from vlmscale.planning.sizing import TrainingSize, size_trainings
from vlmscale.planning.trainings import Assumptions, RunCost, estimate_features_gb, estimate_runs
from vlmscale.study.load import load_study
from vlmscale.study.schema import Study

_UNITS = (("B", 1e9), ("M", 1e6), ("K", 1e3), ("", 1))
_SHOWN = 3  # of what does not fit
_MEASURED = "utilisation: measured by benchmarks/gpu.py"


def plan(
    config: Path, results: Path, assumed: Assumptions, *, gpu: str | None, utilisation: float | None
) -> Report:
    """Return costs, GPUs and state of every training run of a study, and their totals.

    A stage 1 that runs share is counted with the first of them. results: folder of all studies' results.
    gpu: row of resources/gpus.csv instead of the GPUs of the study's `cluster`; utilisation: share of the
    peak that a training reaches, by default the measured one, else the row's, else the cluster's. Raises
    UserError for an unknown GPU or a wrong config.
    """
    study, chosen = choose_gpu(load_study(config), gpu, utilisation)
    cluster = study.cluster
    questions = study.count_questions()
    costs = estimate_runs(study, questions, assumed)
    sizes = size_trainings(study, [cost.run for cost in costs], assumed)
    folder = results / study.study
    rows = [_row(cost, cluster, sizes["stage2", cost.run.run], folder) for cost in costs]
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
        "without_law": study.methods_without_law,
    }


def _row(cost: RunCost, cluster: Cluster, size: TrainingSize | UserError, folder: Path) -> Report:
    """Return what the report says of a run; size: of its stage 2, folder: of the study's results."""
    flops = {training.stage: training.flops for training in cost.trainings}
    done = [t for t in flops if (folder / "runs" / cost.run.run / t / "run.json").exists()]
    job = None if isinstance(size, UserError) else Request(cluster, size.gpus, size.hours, 0)
    return {
        **vars(cost),
        **vars(cost.run),
        "stage1_flops": flops.get("stage1", 0.0),
        "stage2_flops": flops["stage2"],
        "gpu_hours": cluster.gpu_hours(cost.training_flops),
        "gpu_hours_left": cluster.gpu_hours(
            sum(flops[stage] for stage in flops if stage not in done)
        ),
        "gpus": job and job.gpus,
        "nodes": job and job.nodes,
        "done": done,
        "trainings": list(flops),
    }


def show(console: Console, report: Report) -> None:
    """Print the report of `plan` as a table and what it means."""
    groups: dict[tuple[Any, ...], Report] = {}
    for row in report["runs"]:
        key = tuple(row[name] for name in ("llm", "method", "visual_tokens", "budget"))
        group = groups.setdefault(key, {**row, "runs": 0, "finished": 0, "planned": 0})
        group["runs"] += 1
        group["finished"] += len(row["done"])
        group["planned"] += len(row["trainings"])
    several = len({budget for *_, budget in groups}) > 1
    columns: Columns = {
        "LLM": "llm",
        "N": lambda row: _size(row["parameters"]),
        "method": "method",
        "V": "visual_tokens",
        **({"budget": "budget"} if several else {}),
        "runs": "runs",
        "FLOPs": lambda row: number(row["stage1_flops"] + row["stage2_flops"], 2),
        "GPU hours": lambda row: number(row["gpu_hours"], 3),
        "GPUs": lambda row: row["gpus"] or "–",
        "GB": lambda row: number(row["disk_gb"], 2),
        "done": lambda row: f"{row['finished']}/{row['planned']}",
    }
    title = f"{report['study']}: training runs, one row for all seeds; numbers are of one run"
    print_table(console, title, groups.values(), columns, words=["LLM", "method", "budget"])
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
    if report["without_law"]:
        console.print(
            f"Compared with the baseline, but without a law, since in none of laws.series: "
            f"{', '.join(report['without_law'])}."
        )
    show_refused(console, report["too_large"], gpu["name"])
    known = "assumed"
    if assumed["utilisation"] == gpu["utilisation"]:
        known = "measured" if gpu["source"].endswith(_MEASURED) else "known"
    console.print(
        f"Estimates for {gpu['name']} at {assumed['utilisation']:.0%} ({known}) of its "
        f"{gpu['bf16_tflops']:g} TFLOP/s; {assumed['text_tokens']} text tokens a training sample where its "
        f"dataset does not say, {assumed['question_tokens']} a question, {assumed['answer_tokens']} an "
        "answer. N: parameters without embedding and head. FLOPs: every matrix product of both trainings, "
        "forward and back, of tower (unless its features are stored), projector and LLM. Not counted: the "
        "head of an LLM that the study makes, training the backbones, recomputed activations. V of an "
        "elastic method: its largest. GPUs: what the job of stage 2 requests. GB: what is kept of a run."
    )


def choose_gpu(study: Study, gpu: str | None, utilisation: float | None) -> tuple[Study, Gpu]:
    """Return a study on the GPUs that the options of `plan` name, and the GPU."""
    chosen = _find_gpu(gpu, study.cluster)
    changed = {
        "gpu_memory_gb": chosen.memory_gb,
        "tflops": chosen.bf16_tflops,
        "utilisation": utilisation or chosen.utilisation or study.cluster.utilisation,
    }
    cluster = study.cluster.model_copy(update=changed)
    return study.model_copy(update={"cluster": cluster}), chosen


def show_refused(console: Console, refused: Sequence[str], gpu: str) -> None:
    """Print the first of the reasons why trainings do not fit a GPU."""
    for words in refused[:_SHOWN]:
        console.print(f"Does not fit {gpu}: {words}", style="red")
    if refused[_SHOWN:]:
        console.print(f"{len(refused) - _SHOWN} more do not fit; --json names them.", style="red")


def _find_gpu(name: str | None, cluster: Cluster) -> Gpu:
    """Return the GPU `name`, or the one that the study's cluster describes."""
    if name is None:
        share, source = cluster.utilisation, "the study's config"
        about = "a GPU of the study's `cluster`"
        return Gpu("cluster", about, cluster.tflops, cluster.gpu_memory_gb, share, source)
    gpus = load_gpus()
    if name not in gpus:
        raise UserError(
            f"no GPU {name!r} in resources/gpus.csv. There are: {', '.join(gpus)}. Add a row for yours, or "
            "leave out --gpu and describe it in the study's `cluster`."
        )
    measured = find_measured_utilisation(name)
    if measured is None:
        return gpus[name]
    source = f"{gpus[name].source}; {_MEASURED}"
    return replace(gpus[name], utilisation=measured, source=source)


def _size(parameters: int) -> str:
    """Write a number of parameters: 27K, 308M, 12.6B."""
    unit, scale = next((u, s) for u, s in _UNITS if parameters >= s)
    return f"{parameters / scale:.3g}{unit}"
